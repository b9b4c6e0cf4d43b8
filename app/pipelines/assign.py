"""The expert of every document of a document-level cut, part by part with Ray Data; sums are over what parts say."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.allocation.agreement import owner_agreement, warn_of_low_agreement
from app.allocation.base import Allocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import load_allocator
from app.artifacts.layout import ALLOCATOR, ASSIGNMENT, HELD_OUT, SIZES
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.records import DocumentBatch, IntArray, JsonObject
from app.fleet.ray_session import ray_session
from app.pipelines.document_batches import READERS, DocumentSource
from app.pipelines.part_tasks import run_part_tasks

log = logging.getLogger(__name__)

_UNEVEN = 1.5
"""Largest part over the mean from which on the log warns."""


def assign_all(config: Config, source: DocumentSource, languages: Sequence[str], stage: StageFolder) -> None:
    """Write ``documents/<lang>/part-*.parquet`` (doc_id, expert) for every training part, and for every held-out one
    ``held_out/<lang>/part-*.parquet`` (doc_id, nearest expert, and nearest after the first tokens); beside each, under
    ``sizes/``, how many of its documents each expert has.
    """
    parts = [*source.parts(languages, "train"), *source.parts(languages, "validation")]
    # By the sizes, which are written last: a part without them may be half there after a kill.
    names = [sizes_name(_target(*item)) for item in parts]
    # A listing of each language, and not a look for each part.
    folders = dict.fromkeys(name.rpartition("/")[0] for name in names)
    done = {f"{folder}/{name}" for folder in folders for name in stage.names(folder)}
    waiting = [number for number, name in enumerate(names) if name not in done]

    def assign_part(number: int) -> dict[str, int]:
        batch, allocator = source.read(*parts[number]), _allocator(stage)
        columns = {"expert": allocator.assign(batch)}
        if parts[number][1] == "validation":
            columns = {"expert": columns["expert"], "expert_early": allocator.assign(_beginnings(batch))}
        write_part(stage, _target(*parts[number]), batch.doc_ids, columns, len(allocator.experts))
        return {"documents": len(batch)}

    if waiting:
        with ray_session(config.cluster):
            run_part_tasks(
                "allocate", "parts", assign_part, waiting, 1.0, source.sizes(parts), config.corpus.task_bytes
            )


def write_part(
    stage: StageFolder, name: str, doc_ids: Sequence[str], columns: dict[str, IntArray], experts: int
) -> None:
    """Write the experts of a part's documents, and then how many documents each of ``experts`` has by each column."""
    out = pa.table({"doc_id": list(doc_ids), **{column: pa.array(of, pa.int64()) for column, of in columns.items()}})
    sink = pa.BufferOutputStream()
    pq.write_table(out, sink, compression="zstd")
    stage.write(name, sink.getvalue().to_pybytes())
    sizes = {column: np.bincount(of, minlength=experts).tolist() for column, of in columns.items()}
    stage.write_json(sizes_name(name), sizes)


def sizes_name(part: str) -> str:
    """Where the sizes of a written part stand; they are written last."""
    return f"{SIZES}/{part.removesuffix('.parquet')}.json"


def assignment_counts(stage: StageFolder, languages: Sequence[str]) -> JsonObject:
    """Documents of each expert, by language and in all, the balance (largest part over the mean), and how often the
    nearest expert to held-out text is its language's owner: for whole documents and after their first tokens.

    Adds up the sizes that the parts say, one part at a time; no document is read. Logs a warning where parts are uneven
    or the owner is found too seldom.
    """
    k = len(_allocator(stage).experts)
    held, _ = _by_language(stage, ASSIGNMENT, languages, k)
    totals = np.sum(list(held.values()), axis=0)
    ratio = float(totals.max() / totals.mean())
    if ratio > _UNEVEN:
        log.warning("allocate: parts are uneven, of %s documents: whole groups of like documents stay together", totals)
    counts: JsonObject = {
        "documents": dict(held),
        "documents_per_expert": [int(count) for count in totals],
        "max_over_mean": ratio,
    }
    if isinstance(_allocator(stage), RandomAllocator):
        return counts  # no expert is nearer than another
    nearest, nearest_early = _by_language(stage, HELD_OUT, languages, k)
    whole, early = owner_agreement(held, nearest), owner_agreement(held, nearest_early)
    warn_of_low_agreement(whole, held)
    return {**counts, "owner_agreement": dict(whole), "owner_agreement_early": dict(early)}


def read_columns(stage: StageFolder, folder: str, lang: str, column: str) -> Iterator[IntArray]:
    """One column of each part of a language, in order."""
    for name in stage.names(f"{folder}/{lang}"):
        table = pq.read_table(pa.BufferReader(stage.read(f"{folder}/{lang}/{name}")), columns=[column])
        yield np.asarray(table[column].to_numpy(), dtype=np.int64)


def _by_language(
    stage: StageFolder, folder: str, languages: Iterable[str], experts: int
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Documents by language and expert of all parts, whole and after their first tokens."""
    whole: dict[str, list[int]] = {}
    early: dict[str, list[int]] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for lang in languages:
            sums = {column: np.zeros(experts, np.int64) for column in ("expert", "expert_early")}
            sizes = stage.child(f"{SIZES}/{folder}/{lang}")
            # From the store, and not from what the tasks returned: earlier attempts have done parts too.
            for found in pool.map(sizes.read_json, sizes.names()):
                for column, counts in found.items():
                    sums[column] += np.asarray(counts, dtype=np.int64)
            whole[lang], early[lang] = sums["expert"].tolist(), sums["expert_early"].tolist()
    return whole, early


def _target(lang: str, split: str, part: str) -> str:
    return f"{ASSIGNMENT if split == 'train' else HELD_OUT}/{lang}/{part}"


# A worker assigns many parts, and loads the fitted cut for the first one only.
@functools.lru_cache(maxsize=1)
def _allocator(stage: StageFolder) -> Allocator:
    return load_allocator(stage.child(ALLOCATOR).read)


def _beginnings(batch: DocumentBatch) -> DocumentBatch:
    # Late: it imports scikit-learn, which is slow.
    from app.allocation.tfidf import beginnings_of

    return beginnings_of(batch)
