"""Cut the corpus: fit the allocator, and for document-level ones assign every training document with Ray Data."""

from __future__ import annotations

import time
from collections.abc import Mapping

from app.allocation.base import Allocator
from app.allocation.storage import load_allocator, save_allocator
from app.artifacts.layout import ALLOCATOR, ALLOCATOR_DONE, PROBE_FOUND, SAMPLE, TOKENIZER, TOP_TERMS
from app.artifacts.lease import left_to_make
from app.artifacts.store import StageFolder
from app.core.records import DocumentBatch, JsonObject, JsonValue
from app.lineage.clusters import fit_config, language_clusters
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.pipelines.assign import assign_all, sum_assignment
from app.pipelines.document_batches import DocumentSource, draw_sample
from app.pipelines.probe import make_probes, measured_layers
from app.tokens.tokenizer import load_tokenizer


def make_allocation(lineage: Lineage) -> Made:
    """Fit and assign; returns the finished stage."""
    stage = lineage.allocation.folder
    with left_to_make(stage, "jobs.allocate") as is_left:
        if is_left:
            _make(lineage, stage)
    return {"allocation": stage}


def _make(lineage: Lineage, stage: StageFolder) -> None:
    config, languages = lineage.config, lineage.languages
    started = time.monotonic()
    probes = make_probes(lineage)
    source = _source({name: needed.finished() for name, needed in lineage.evidence.items()})
    if not stage.exists(ALLOCATOR_DONE):
        documents = int(str(lineage.shards.finished().manifest().counts["documents"]))
        wanted = config.allocation.sample_documents
        sample = None
        if source is not None:
            sample = draw_sample(config, source, languages, documents, wanted, stage.child(SAMPLE))
        fitted = fit_config(config, languages, sample, probes)
        save_allocator(fitted, stage.child(ALLOCATOR).write)
        if sample is not None:
            stage.write_json(TOP_TERMS, _top_terms(fitted, sample, lineage.tokenizer.finished()))
        for name, distances in probes.items():
            found: JsonObject = {"probe": name, "languages": list(languages), "distances": distances.tolist()}
            if layers := measured_layers(lineage.probes[name], languages):
                chosen: JsonValue = [*layers.chosen]
                numbers: JsonObject = {"mean": layers.mean.tolist(), "scaled": layers.scaled.tolist()}
                found["layers"] = {**numbers, "chosen": chosen, "least": layers.least}
            stage.write_json(PROBE_FOUND, found)
        # After all files of the fit: a job that is killed while documents are assigned does not fit again. The sample
        # goes only now, so that a fit that is killed need not draw it again.
        stage.write(ALLOCATOR_DONE, b"")
        stage.remove(SAMPLE)
    allocator = load_allocator(stage.child(ALLOCATOR).read)
    counts: JsonObject = {"experts": list(allocator.experts), "unit": allocator.unit}
    if source is None:
        counts["clusters"] = language_clusters(allocator, languages)
    else:
        assign_all(config, source, lineage.tokens.finished(), languages, stage)
        counts |= sum_assignment(stage, languages)
    lineage.allocation.publish(counts, time.monotonic() - started)


def _source(evidence: Mapping[str, StageFolder]) -> DocumentSource | None:
    """Where the documents are read from; None where whole languages are cut."""
    if "documents" in evidence:
        return DocumentSource(evidence["documents"], "texts")
    return DocumentSource(evidence["tokens"], "tokens") if "tokens" in evidence else None


def _top_terms(allocator: Allocator, sample: DocumentBatch, tokenizer: StageFolder) -> JsonObject:
    from app.allocation.top_terms import top_terms  # late, as all that needs scikit-learn: it is slow to import

    return dict(top_terms(allocator, sample, load_tokenizer(str(tokenizer.local(TOKENIZER))).decode))
