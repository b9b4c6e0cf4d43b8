"""Which documents an expert holds, from the assignment of a document-level cut: read and checked a part at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.layout import ASSIGNMENT
from app.artifacts.store import StageFolder
from app.core.errors import MissingArtifact, StaleArtifact
from app.core.records import Array, IntArray
from app.tokens.counts import PartCount
from app.tokens.dataset import TokenCorpus
from app.tokens.index import document_numbers


@dataclass(frozen=True)
class Held:
    """What one expert holds of a language: its documents, their tokens, and a digest that says which they are."""

    documents: int
    tokens: int
    digest: str


def part_experts(allocation: StageFolder, corpus: TokenCorpus, lang: str, part: PartCount) -> IntArray:
    """The expert of each training document of a part, (documents,).

    Raises StaleArtifact if the allocation was made for other documents.
    """
    return _experts(allocation, lang, part, corpus.index(lang, "train", part))


def held_by_experts(allocation: StageFolder, corpus: TokenCorpus, lang: str, experts: int) -> list[Held]:
    """What each expert holds of a language's training text. Raises StaleArtifact as ``part_experts``."""
    documents, tokens = np.zeros(experts, np.int64), np.zeros(experts, np.int64)
    # Over a document's place and never the expert's number: two cuts that give the same documents share one expert.
    digests = [hashlib.sha256() for _ in range(experts)]
    for part in corpus.counts.parts(lang, "train"):
        index = corpus.index(lang, "train", part)
        owner = _experts(allocation, lang, part, index)
        documents += np.bincount(owner, minlength=experts)
        for number, digest in enumerate(digests):
            places = np.flatnonzero(owner == number)
            tokens[number] += index["length"][places].sum()
            # Little-endian in 8 bytes on every machine, and the count says where a part ends: keys are made of this.
            digest.update(f"{part.name} {len(places)}\n".encode() + places.astype("<i8").tobytes())
    return [
        Held(int(count), int(size), digest.hexdigest())
        for count, size, digest in zip(documents, tokens, digests, strict=True)
    ]


def _experts(allocation: StageFolder, lang: str, part: PartCount, index: Array) -> IntArray:
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


def _stale(allocation: StageFolder, name: str, lang: str) -> StaleArtifact:
    return StaleArtifact(
        f"{allocation.uri}/{name} does not list the tokenized documents of {lang};"
        " delete its folder and run python -m jobs.allocate again"
    )
