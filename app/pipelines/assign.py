"""The expert of every document of a document-level cut, part by part with Ray Data; sums are over what parts say."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.allocation.agreement import owner_agreement, warn_of_low_agreement
from app.allocation.base import Allocator
from app.allocation.holdings import Holdings, part_holdings, summed_holdings
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import load_allocator
from app.artifacts.layout import ALLOCATOR, ASSIGNMENT, HELD_OUT, SIZES, part_tokens_name
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.errors import StaleArtifact
from app.core.records import DocumentBatch, IntArray, JsonObject, JsonValue
from app.fleet.ray_session import ray_session
from app.pipelines.document_batches import DocumentSource, opened_corpus
from app.pipelines.part_tasks import run_part_tasks
from app.pipelines.side_by_side import each

log = logging.getLogger(__name__)

_UNEVEN = 1.5
"""Largest part over the mean from which on the log warns."""


def assign_all(
    config: Config, source: DocumentSource, tokens: StageFolder, languages: Sequence[str], stage: StageFolder
) -> None:
    """Write ``documents/<lang>/part-*.parquet`` (doc_id, expert) for every training part, and for every held-out one
    ``held_out/<lang>/part-*.parquet`` (doc_id, nearest expert, and nearest after the first tokens); beside each, under
    ``sizes/``, how many of its documents each expert has, and what it holds of a training part.

    tokens: the tokens stage of the documents.
    """
    parts = [*source.parts(languages, "train"), *source.parts(languages, "validation")]
    # By the sizes, which are written last: a part without them may be half there after a kill.
    names = [sizes_name(_target(*item)) for item in parts]
    # A listing of each language, and not a look for each part.
    folders = dict.fromkeys(name.rpartition("/")[0] for name in names)
    done = {f"{folder}/{name}" for folder in folders for name in stage.names(folder)}
    waiting = [number for number, name in enumerate(names) if name not in done]

    def assign_part(number: int) -> dict[str, int]:
        lang, split, part = parts[number]
        batch, allocator = source.read(lang, split, part), _allocator(stage)
        owner = allocator.assign(batch)
        if split == "train":
            corpus = opened_corpus(tokens)
            index = corpus.index(lang, split, corpus.counts.part(lang, split, part.removesuffix(".parquet")))
            write_training_part(stage, lang, part, batch.doc_ids, owner, index["length"], len(allocator.experts))
        else:
            columns = {"expert": owner, "expert_early": allocator.assign(_beginnings(batch))}
            write_held_out_part(stage, lang, part, batch.doc_ids, columns, len(allocator.experts))
        return {"documents": len(batch)}

    def known(number: int) -> dict[str, int] | None:
        name = names[number]
        return {"documents": _count(stage.read_json(name)["expert"])} if stage.exists(name) else None

    if waiting:
        with ray_session(config.cluster):
            sizes, most = source.sizes(parts), config.corpus.task_bytes
            run_part_tasks("allocate", "parts", assign_part, waiting, 1.0, sizes, most, known=known)


def write_training_part(
    stage: StageFolder, lang: str, part: str, doc_ids: Sequence[str], owner: IntArray, lengths: IntArray, experts: int
) -> None:
    """Write the expert of each of a part's documents, and then what each of ``experts`` holds of it. lengths: tokens of
    each document.
    """
    name, held = f"{ASSIGNMENT}/{lang}/{part}", part_holdings(owner, lengths, experts)
    _write_columns(stage, name, doc_ids, {"expert": owner})
    sizes = {"expert": held.documents.tolist(), "tokens": held.tokens.tolist(), "digests": [*held.digests]}
    stage.write_json(sizes_name(name), sizes)


def write_held_out_part(
    stage: StageFolder, lang: str, part: str, doc_ids: Sequence[str], columns: dict[str, IntArray], experts: int
) -> None:
    """Write the experts of a part's documents, and then how many documents each of ``experts`` has by each column."""
    name = f"{HELD_OUT}/{lang}/{part}"
    _write_columns(stage, name, doc_ids, columns)
    sizes = {column: np.bincount(of, minlength=experts).tolist() for column, of in columns.items()}
    stage.write_json(sizes_name(name), sizes)


def _write_columns(stage: StageFolder, name: str, doc_ids: Sequence[str], columns: dict[str, IntArray]) -> None:
    out = pa.table({"doc_id": list(doc_ids), **{column: pa.array(of, pa.int64()) for column, of in columns.items()}})
    sink = pa.BufferOutputStream()
    pq.write_table(out, sink, compression="zstd")
    stage.write(name, sink.getvalue().to_pybytes())


def _count(by_expert: JsonValue) -> int:
    assert isinstance(by_expert, list)
    return sum(int(str(count)) for count in by_expert)


def sizes_name(part: str) -> str:
    """Where the sizes of a written part stand; they are written last."""
    return f"{SIZES}/{part.removesuffix('.parquet')}.json"


def sum_assignment(stage: StageFolder, languages: Sequence[str]) -> JsonObject:
    """What each expert holds, by language and in all, the balance (largest part over the mean), and how often the
    nearest expert to held-out text is its language's owner: for whole documents and after their first tokens.

    Adds up what the parts say, one part at a time; no document is read. Writes ``part_tokens/<lang>.npy``, (k, parts)
    tokens of each expert in each part. Logs a warning where parts are uneven or the owner is found too seldom.
    """
    k = len(_allocator(stage).experts)
    held = {lang: _held(stage, lang, k) for lang in languages}
    documents = {lang: found.documents.tolist() for lang, found in held.items()}
    totals = np.sum(list(documents.values()), axis=0)
    ratio = float(totals.max() / totals.mean())
    if ratio > _UNEVEN:
        log.warning("allocate: parts are uneven, of %s documents: whole groups of like documents stay together", totals)
    counts: JsonObject = {
        "documents": dict(documents),
        "tokens": {lang: found.tokens.tolist() for lang, found in held.items()},
        "digests": {lang: [*found.digests] for lang, found in held.items()},
        "documents_per_expert": [int(count) for count in totals],
        "max_over_mean": ratio,
    }
    if isinstance(_allocator(stage), RandomAllocator):
        return counts  # no expert is nearer than another
    nearest = {lang: _nearest(stage, lang, k) for lang in languages}
    whole = owner_agreement(documents, {lang: found["expert"] for lang, found in nearest.items()})
    early = owner_agreement(documents, {lang: found["expert_early"] for lang, found in nearest.items()})
    warn_of_low_agreement(whole, documents)
    return {**counts, "owner_agreement": dict(whole), "owner_agreement_early": dict(early)}


def read_columns(stage: StageFolder, folder: str, lang: str, column: str) -> Iterator[IntArray]:
    """One column of each part of a language, in order."""
    for name in stage.names(f"{folder}/{lang}"):
        table = pq.read_table(pa.BufferReader(stage.read(f"{folder}/{lang}/{name}")), columns=[column])
        yield np.asarray(table[column].to_numpy(), dtype=np.int64)


def _held(stage: StageFolder, lang: str, experts: int) -> Holdings:
    """What the experts hold of a language; writes their tokens in each part."""
    sizes = stage.child(f"{SIZES}/{ASSIGNMENT}/{lang}")
    # From the store, and not from what the tasks returned: earlier attempts have done parts too.
    names = sizes.names()
    tokens = np.zeros((experts, len(names)), np.int64)

    def parts() -> Iterator[tuple[str, Holdings]]:
        for number, found in enumerate(each(sizes.read_json, names)):
            if not isinstance(digests := found.get("digests"), list):
                raise StaleArtifact(
                    f"{stage.uri} was begun by an earlier version; delete its folder and run {stage.made_by} again"
                )
            tokens[:, number] = np.asarray(found["tokens"], dtype=np.int64)
            documents = np.asarray(found["expert"], dtype=np.int64)
            yield names[number], Holdings(documents, tokens[:, number], tuple(map(str, digests)))

    held = summed_holdings(parts(), experts)
    sink = io.BytesIO()
    np.save(sink, tokens, allow_pickle=False)
    stage.write(part_tokens_name(lang), sink.getvalue())
    return held


def _nearest(stage: StageFolder, lang: str, experts: int) -> dict[str, list[int]]:
    """Held-out documents by their nearest expert, whole and after their first tokens."""
    sums = {column: np.zeros(experts, np.int64) for column in ("expert", "expert_early")}
    sizes = stage.child(f"{SIZES}/{HELD_OUT}/{lang}")
    for found in each(sizes.read_json, sizes.names()):
        for column, counts in found.items():
            sums[column] += np.asarray(counts, dtype=np.int64)
    return {column: of.tolist() for column, of in sums.items()}


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
