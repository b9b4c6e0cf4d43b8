"""Cut the corpus: fit the allocator, and for document-level ones assign every training document with Ray Data."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.allocation.agreement import owner_agreement, warn_of_low_agreement
from app.allocation.base import Allocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import load_allocator, save_allocator
from app.artifacts.layout import ALLOCATOR, ALLOCATOR_DONE, ASSIGNMENT, HELD_OUT, PROBE_FOUND, TOKENIZER, TOP_TERMS
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.records import DocumentBatch, IntArray, JsonObject
from app.fleet.ray_session import ray_session
from app.lineage.clusters import fit_config, language_clusters
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.pipelines.document_batches import DocumentSource, draw_sample
from app.pipelines.part_tasks import run_part_tasks
from app.pipelines.probe import make_probes
from app.tokens.tokenizer import load_tokenizer

log = logging.getLogger(__name__)

_UNEVEN = 1.5
"""Largest part over the mean from which on the log warns."""


def make_allocation(lineage: Lineage) -> Made:
    """Fit and assign; returns the finished stage."""
    config, languages, stage = lineage.config, lineage.languages, lineage.allocation.folder
    if stage.is_complete:
        return {"allocation": stage}
    started = time.monotonic()
    probes = make_probes(lineage)
    source = _source({name: needed.finished() for name, needed in lineage.evidence.items()})
    if not stage.exists(ALLOCATOR_DONE):
        documents = int(str(lineage.shards.finished().manifest().counts["documents"]))
        wanted = config.allocation.sample_documents
        sample = None if source is None else draw_sample(source, languages, documents, wanted)
        fitted = fit_config(config, languages, sample, probes)
        save_allocator(fitted, stage.child(ALLOCATOR).write)
        if sample is not None:
            stage.write_json(TOP_TERMS, _top_terms(fitted, sample, lineage.tokenizer.finished()))
        for name, distances in probes.items():
            found: JsonObject = {"probe": name, "languages": list(languages), "distances": distances.tolist()}
            stage.write_json(PROBE_FOUND, found)
        stage.write(ALLOCATOR_DONE, b"")
    allocator = load_allocator(stage.child(ALLOCATOR).read)
    counts: JsonObject = {"experts": list(allocator.experts), "unit": allocator.unit}
    if source is None:
        counts["clusters"] = language_clusters(allocator, languages)
    else:
        _assign_all(config, source, languages, stage)
        counts |= assignment_counts(stage, languages)
    lineage.allocation.publish(counts, time.monotonic() - started)
    return {"allocation": stage}


def _source(evidence: Mapping[str, StageFolder]) -> DocumentSource | None:
    """Where the documents are read from; None where whole languages are cut."""
    if "tokens" in evidence:
        return DocumentSource(evidence["tokens"], "tokens")
    return DocumentSource(evidence["documents"], "texts") if "documents" in evidence else None


def _top_terms(allocator: Allocator, sample: DocumentBatch, tokenizer: StageFolder) -> JsonObject:
    from app.allocation.top_terms import top_terms  # late, as all that needs scikit-learn: it is slow to import

    return dict(top_terms(allocator, sample, load_tokenizer(str(tokenizer.local(TOKENIZER))).decode))


@functools.lru_cache(maxsize=1)
def _allocator(stage: StageFolder) -> Allocator:
    return load_allocator(stage.child(ALLOCATOR).read)


def _assign_all(config: Config, source: DocumentSource, languages: Sequence[str], stage: StageFolder) -> None:
    """Write ``documents/<lang>/part-*.parquet`` (doc_id, expert) for every training part, and for every held-out one
    ``held_out/<lang>/part-*.parquet`` (doc_id, nearest expert, and nearest after the first tokens).
    """
    parts = [*source.parts(languages, "train"), *source.parts(languages, "validation")]
    waiting = [number for number, item in enumerate(parts) if not stage.exists(_target(*item))]

    def assign_part(number: int) -> dict[str, int]:
        batch, allocator = source.read(*parts[number]), _allocator(stage)
        columns = {"expert": allocator.assign(batch)}
        if parts[number][1] == "validation":
            columns = {"expert": columns["expert"], "expert_early": allocator.assign(_beginnings(batch))}
        out = pa.table({"doc_id": list(batch.doc_ids), **{n: pa.array(c, pa.int64()) for n, c in columns.items()}})
        sink = pa.BufferOutputStream()
        pq.write_table(out, sink, compression="zstd")
        stage.write(_target(*parts[number]), sink.getvalue().to_pybytes())
        return {"documents": len(batch)}

    if waiting:
        with ray_session(config.cluster):
            run_part_tasks("allocate", "parts", assign_part, waiting)


def _target(lang: str, split: str, part: str) -> str:
    return f"{ASSIGNMENT if split == 'train' else HELD_OUT}/{lang}/{part}"


def _beginnings(batch: DocumentBatch) -> DocumentBatch:
    from app.allocation.tfidf import beginnings_of

    return beginnings_of(batch)


def assignment_counts(stage: StageFolder, languages: Sequence[str]) -> JsonObject:
    """Documents of each expert, by language and in all, the balance (largest part over the mean), and how often the
    nearest expert to held-out text is its language's owner: for whole documents and after their first tokens.

    Logs a warning where parts are uneven or the owner is found too seldom.
    """
    k = len(_allocator(stage).experts)
    held = {
        lang: np.bincount(read_column(stage, ASSIGNMENT, lang, "expert"), minlength=k).tolist() for lang in languages
    }
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
    whole = owner_agreement(held, {lang: read_column(stage, HELD_OUT, lang, "expert") for lang in languages})
    early = owner_agreement(held, {lang: read_column(stage, HELD_OUT, lang, "expert_early") for lang in languages})
    warn_of_low_agreement(whole, held)
    return {**counts, "owner_agreement": dict(whole), "owner_agreement_early": dict(early)}


def read_column(stage: StageFolder, folder: str, lang: str, column: str) -> IntArray:
    """One column of all parts of a language; empty where there is none."""
    names = stage.names(f"{folder}/{lang}")
    parts = [pq.read_table(pa.BufferReader(stage.read(f"{folder}/{lang}/{name}")), columns=[column]) for name in names]
    found = [np.asarray(table[column].to_numpy(), dtype=np.int64) for table in parts]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])
