"""Cut the corpus: fit the allocator, and for document-level ones assign every training document with Ray Data."""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from app.allocation.base import Allocator, DocumentSample
from app.allocation.storage import load_allocator, save_allocator
from app.artifacts.layout import ALLOCATOR, ALLOCATOR_DONE, ASSIGNMENT, TOP_TERMS
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.records import DocumentBatch, JsonObject
from app.core.units import format_count, format_seconds
from app.corpora.shards import part_names, read_part
from app.fleet.ray_session import ray_session
from app.lineage.clusters import fit_config, language_clusters
from app.lineage.lineage import Lineage
from app.lineage.runs import Made

log = logging.getLogger(__name__)


def make_allocation(lineage: Lineage) -> Made:
    """Fit and assign; returns the finished stage."""
    config, languages, shards = lineage.config, lineage.languages, lineage.shards.finished()
    language_level, stage = lineage.is_language_level, lineage.allocation.folder
    if stage.is_complete:
        return {"allocation": stage}
    started = time.monotonic()
    if not stage.exists(ALLOCATOR_DONE):
        sample = None if language_level else draw_sample(config, shards, languages)
        fitted = fit_config(config, languages, sample)
        save_allocator(fitted, stage.child(ALLOCATOR).write)
        if sample is not None:
            stage.write_json(TOP_TERMS, _top_terms(fitted, sample))
        stage.write(ALLOCATOR_DONE, b"")
    allocator = load_allocator(stage.child(ALLOCATOR).read)
    counts: JsonObject = {"experts": list(allocator.experts), "unit": allocator.unit}
    if language_level:
        counts["clusters"] = language_clusters(allocator, languages)
    else:
        counts |= _assign_all(config, shards, languages, stage)
    lineage.allocation.publish(counts, time.monotonic() - started)
    return {"allocation": stage}


def draw_sample(config: Config, shards: StageFolder, languages: Sequence[str]) -> DocumentSample:
    """About ``allocation.sample_documents`` training documents, drawn by their hash: the same in every run."""
    documents = shards.manifest().counts["documents"]
    share = config.allocation.sample_documents / max(1, int(str(documents)))
    rows: list[tuple[str, str, str]] = []
    for lang in languages:
        for part in part_names(shards, lang, "train"):
            table = read_part(shards, lang, "train", part, ["doc_id", "lang", "text"])
            chosen = [i for i, doc_id in enumerate(table["doc_id"].to_pylist()) if _position(doc_id) < share]
            rows += [(row["doc_id"], row["lang"], row["text"]) for row in table.take(chosen).to_pylist()]
    doc_ids, langs, texts = zip(*rows, strict=True) if rows else ((), (), ())
    return DocumentSample(tuple(doc_ids), tuple(langs), tuple(texts))


def _position(doc_id: str) -> float:
    """A document's place in [0, 1), independent of the train/validation split."""
    return int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8, person=b"sample").digest(), "big") / 2**64


def _top_terms(allocator: Allocator, sample: DocumentSample) -> JsonObject:
    from app.allocation.top_terms import top_terms  # late, as all that needs scikit-learn: it is slow to import

    return dict(top_terms(allocator, sample))


@functools.lru_cache(maxsize=1)
def _allocator(stage: StageFolder) -> Allocator:
    return load_allocator(stage.child(ALLOCATOR).read)


def _assign_all(config: Config, shards: StageFolder, languages: Sequence[str], stage: StageFolder) -> JsonObject:
    """Write ``documents/<lang>/part-*.parquet`` (doc_id, expert) for every shard part; returns sizes and balance."""
    parts = [(lang, part) for lang in languages for part in part_names(shards, lang, "train")]
    waiting = [item for item in parts if not stage.exists(f"{ASSIGNMENT}/{item[0]}/{item[1]}")]

    def assign_part(row: dict[str, Any]) -> dict[str, Any]:
        lang, part = waiting[int(row["item"])]
        table = read_part(shards, lang, "train", part, ["doc_id", "lang", "text"])
        columns = (tuple(table[name].to_pylist()) for name in ("doc_id", "lang", "text"))
        experts = _allocator(stage).assign(DocumentBatch(*columns))
        out = pa.table({"doc_id": table["doc_id"], "expert": pa.array(experts, pa.int64())})
        sink = pa.BufferOutputStream()
        pq.write_table(out, sink, compression="zstd")
        stage.write(f"{ASSIGNMENT}/{lang}/{part}", sink.getvalue().to_pybytes())
        return {"documents": len(table)}

    if waiting:
        started = time.monotonic()
        with ray_session(config.cluster):
            tasks = ray.data.from_items(list(range(len(waiting))), override_num_blocks=len(waiting))
            documents = sum(row["documents"] for row in tasks.map(assign_part, num_cpus=1).iter_rows())
        seconds = time.monotonic() - started
        log.info("allocate: %s documents in %s", format_count(documents), format_seconds(seconds))
    return assignment_sizes(stage, languages)


def assignment_sizes(stage: StageFolder, languages: Sequence[str]) -> JsonObject:
    """Documents of each expert, by language and in all, and the balance (largest part over the mean)."""
    k = len(_allocator(stage).experts)
    by_language: dict[str, list[int]] = {}
    for lang in languages:
        counted: Counter[int] = Counter()
        for part in stage.names(f"{ASSIGNMENT}/{lang}"):
            table = pq.read_table(pa.BufferReader(stage.read(f"{ASSIGNMENT}/{lang}/{part}")))
            counted.update(table["expert"].to_pylist())
        by_language[lang] = [counted[number] for number in range(k)]
    totals = np.sum(list(by_language.values()), axis=0)
    return {
        "documents": by_language,
        "documents_per_expert": [int(count) for count in totals],
        "max_over_mean": float(totals.max() / totals.mean()),
    }
