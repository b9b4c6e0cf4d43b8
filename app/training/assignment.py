"""Which documents an expert holds, from the assignment of a document-level cut: read and checked a part at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.layout import ASSIGNMENT, part_tokens_name
from app.artifacts.store import StageFolder
from app.core.errors import MissingArtifact, StaleArtifact
from app.core.records import IntArray
from app.tokens.counts import PartCount
from app.tokens.dataset import TokenCorpus
from app.tokens.index import document_numbers


def part_experts(allocation: StageFolder, corpus: TokenCorpus, lang: str, part: PartCount) -> IntArray:
    """The expert of each training document of a part, (documents,).

    Raises StaleArtifact if the allocation was made for other documents.
    """
    index = corpus.index(lang, "train", part)
    name = f"{ASSIGNMENT}/{lang}/{part.name}.parquet"
    try:
        table = pq.read_table(pa.BufferReader(allocation.read(name)))
    except MissingArtifact:
        # A finished cut has a file for each part that it was made from.
        raise _stale(allocation, name, lang) from None
    # Rows are given to experts by their place in the part, so the order must be the same too.
    if len(table) != len(index) or (document_numbers(table["doc_id"].to_pylist()) != index["document"]).any():
        raise _stale(allocation, name, lang)
    return np.asarray(table["expert"].to_numpy(), dtype=np.int64)


def part_tokens(allocation: StageFolder, corpus: TokenCorpus, lang: str, expert: int) -> IntArray:
    """(parts,) tokens of one expert in each part of a language's training text; no part is opened.

    Raises StaleArtifact if the allocation was made for other parts.
    """
    name = part_tokens_name(lang)
    # A finished cut of an earlier version has none.
    if not allocation.exists(name):
        raise _stale(allocation, name, lang)
    held: IntArray = np.load(allocation.local(name), mmap_mode="r", allow_pickle=False)
    if held.shape[1] != len(corpus.counts.parts(lang, "train")):
        raise _stale(allocation, name, lang)
    return np.array(held[expert], dtype=np.int64)


def _stale(allocation: StageFolder, name: str, lang: str) -> StaleArtifact:
    return StaleArtifact(
        f"{allocation.uri}/{name} does not list the tokenized documents of {lang};"
        " delete its folder and run python -m jobs.allocate again"
    )
