"""The ensemble against dense, seed and its own experts, from the scores of each model."""

from __future__ import annotations

import io
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from app.allocation.base import Allocator
from app.allocation.prefixes import prefix_distances
from app.allocation.storage import load_allocator
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, is_grown_from, read_ensemble, write_ensemble
from app.artifacts.layout import (
    ALLOCATOR,
    CURRENT_ENSEMBLE,
    DISTANCES,
    DOCUMENT_ROWS,
    EVALUATION_SUMMARY,
    SUMMARY,
    TOKENIZER,
)
from app.artifacts.store import StageFolder
from app.core.records import FloatArray, IntArray, JsonObject
from app.core.units import format_seconds
from app.evaluation.scores import ScoredDocuments, load_scores, write_array
from app.evaluation.systems import (
    DENSE,
    ENSEMBLE,
    SEED,
    ExpertEvidence,
    System,
    Used,
    compared_systems,
    use_experts,
)
from app.evaluation.win_rate import summarise
from app.fleet.ray_session import ray_session
from app.lineage.inputs import evaluation_inputs, planned
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import weighting_settings
from app.pipelines.merge import make_merges, merged_from
from app.pipelines.score import ANYWHERE, score_models, validation_documents
from app.tokens.tokenizer import load_tokenizer
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)


def make_evaluation(lineage: Lineage) -> Made:
    """Score what is not scored, compare, and write the run's ensemble and ``evaluation/summary.json``."""
    models = lineage.models()
    for model in models.values():
        model.manifest()
    record = ensemble_record(lineage)
    models |= {name: lineage.store.stage("model", key) for name, key in record.models.items() if name not in models}
    scores = score_models(lineage, models)
    keys = {name: folder.key for name, folder in scores.items()}
    stage = planned(evaluation_inputs(lineage.config, keys, lineage.allocation.key), lineage.store)
    if not stage.is_complete:
        started = time.monotonic()
        summary = _compare(lineage, scores, record, stage.folder)
        stage.folder.write_json(EVALUATION_SUMMARY, summary)
        stage.publish({"languages": summary["languages_compared"]}, time.monotonic() - started)
        log.info("evaluate: compared in %s", format_seconds(time.monotonic() - started))
    named = {"run": lineage.config.run.name, **stage.folder.read_json(EVALUATION_SUMMARY)}
    lineage.run.write_json(SUMMARY, named)
    current = read_ensemble(lineage.run, "") if lineage.run.exists(CURRENT_ENSEMBLE) else None
    if current is None or not is_grown_from(current, record):
        write_ensemble(lineage.run, record)
    elif current.experts != record.experts:
        log.info("evaluate: version %d, which has experts of later rounds too, stays current", current.version)
    return {"evaluation": stage.folder, **{f"scores-{name}": made for name, made in scores.items()}}


def ensemble_record(lineage: Lineage) -> EnsembleRecord:
    """All that serving needs: experts in order with parent, round and tokens, the allocation, the weighting.

    Makes the merges of the config, since the record names them. Raises what ``make_merges`` raises.
    """
    experts = tuple(_expert_record(task) for task in lineage.experts)
    held = {lang: tuple(counts.tolist()) for lang, counts in language_shares(lineage).items()}
    merged = make_merges(lineage.store, experts, held, lineage.config.merges)
    return EnsembleRecord(
        run=lineage.config.run.name,
        experts=experts,
        allocation=lineage.allocation.key,
        tokenizer=lineage.tokenizer.key,
        models={
            "seed": lineage.seed.key,
            **{task.name: task.key for task in lineage.baselines},
            **{name: stage.key for name, stage in merged.items()},
        },
        mixing=asdict(weighting_settings(lineage.config)),
        shares=held if lineage.config.evaluation.prior == "language" else {},
    )


def language_shares(lineage: Lineage) -> dict[str, FloatArray]:
    """Language -> (k,) share of its training tokens that each expert trains on; all equal where none does."""
    shares = {}
    for lang in lineage.token_corpus.languages():
        held = [float(task.held[lang]) if lang in task.weights else 0.0 for task in lineage.experts]
        counts = np.asarray(held if sum(held) else [1.0] * len(held))
        shares[lang] = counts / counts.sum()
    return shares


def _expert_record(task: ModelTask) -> ExpertRecord:
    counts = task.stage.counts(ModelCounts)
    languages = tuple(sorted(task.weights))
    digest, seen = counts.weights_sha256, counts.tokens_seen
    return ExpertRecord(task.name, task.key, task.parent, task.round, languages, digest, seen)


def _compare(
    lineage: Lineage, scores: Mapping[str, StageFolder], record: EnsembleRecord, stage: StageFolder
) -> JsonObject:
    """The evaluation's summary; it may be shared by runs of several names, so it holds none."""
    config, allocation = lineage.config, lineage.allocation.finished()
    allocator = load_allocator(allocation.child(ALLOCATOR).read)
    loaded = {name: load_scores(folder) for name, folder in scores.items()}
    documents = loaded[SEED][0]
    tokens = {name: values.astype(np.float64) for name, (_, values) in loaded.items()}
    evidence = ExpertEvidence(
        np.stack([tokens[name] for name in allocator.experts], axis=1),
        _distances(lineage, allocator, documents),
        language_shares(lineage),
        allocator.unit,
    )
    prior = config.evaluation.prior
    systems = compared_systems(list(tokens), weighting_settings(config), allocator.unit, prior)
    used = {
        system.name: use_experts(system, documents, evidence) if system.uses_experts else Used(tokens[system.name])
        for system in systems
    }
    log_probs = {name: found.log_probs for name, found in used.items()}
    write_array(stage, DISTANCES, evidence.distances.astype(np.float32))
    _write_rows(stage, documents, log_probs)
    samples, seed = config.evaluation.bootstrap_samples, config.run.seed
    baselines = [task.name for task in lineage.baselines]
    ordered = (DENSE, SEED, *(name for name in baselines if name != DENSE))
    steps = {task.name: task.stage.counts(ModelCounts).steps for task in (*lineage.baselines, *lineage.experts)}
    return {
        "k": len(allocator.experts),
        "experts": list(allocator.experts),
        "allocation": config.allocation.strategy,
        "weighting": next(system.weighting.name for system in systems if system.name == ENSEMBLE and system.weighting),
        "tokens_total": config.training.budget_tokens,
        "tokens_trained": _trained(lineage),
        "steps": steps,
        "mixture": config.corpus.mixture,
        "protocol": config.evaluation.protocol,
        **summarise(documents, log_probs, _exposure(lineage, systems, record), samples, seed, ENSEMBLE, ordered),
        "made": {system.name: _made(system, used[system.name]) for system in systems},
        "expert_of_language": {lang: allocator.experts[evidence.home(lang)] for lang in evidence.shares},
    }


def _made(system: System, used: Used) -> JsonObject:
    """How a system is made, for readers of the summary."""
    return {
        "kind": system.kind,
        "told_language": system.told,
        "weighting": system.weighting.name if system.kind == "mixture" and system.weighting else None,
        "experts_per_token": used.experts,
        "passes_per_token": used.passes,
    }


def _trained(lineage: Lineage) -> JsonObject:
    return {task.name: task.stage.counts(ModelCounts).tokens_seen for task in (*lineage.baselines, *lineage.experts)}


def _exposure(lineage: Lineage, systems: Sequence[System], record: EnsembleRecord) -> dict[str, dict[str, int]]:
    """Tokens of each language that each system's models have seen; who uses the experts has seen what they have."""
    seen = {
        task.name: dict(task.stage.counts(ModelCounts).exposure_tokens)
        for task in (*lineage.baselines, *lineage.experts)
    }
    together = _sum(seen[task.name] for task in lineage.experts)
    merged = {name: lineage.store.stage("model", record.models[name]) for name in lineage.config.merges}
    averaged = {name: _sum(seen[str(expert)] for expert in merged_from(stage)) for name, stage in merged.items()}
    return {**seen, **averaged, **dict.fromkeys((system.name for system in systems if system.uses_experts), together)}


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _distances(lineage: Lineage, allocator: Allocator, documents: ScoredDocuments) -> FloatArray:
    """(tokens, k): row t is the distance of the text before token t to each expert."""
    if allocator.unit == "language":
        rows = np.stack([allocator.context(lang).distances() for lang in documents.langs])
        return np.repeat(rows, documents.length, axis=0)
    tokenizer, allocation = lineage.tokenizer.finished(), lineage.allocation.finished()
    _, ids = validation_documents(lineage.config, lineage.token_corpus, load_tokenizer(str(tokenizer.local(TOKENIZER))))
    with ray_session(lineage.config.cluster):
        task = ray.remote(_context_distances).options(num_cpus=1, scheduling_strategy=ANYWHERE)
        size = max(1, len(ids) // 32)
        parts = [task.remote(allocation, tokenizer, ids[at : at + size]) for at in range(0, len(ids), size)]
        return np.concatenate(ray.get(parts))


def _context_distances(allocation: StageFolder, tokenizer_stage: StageFolder, ids: list[IntArray]) -> FloatArray:
    allocator = load_allocator(allocation.child(ALLOCATOR).read)
    tokenizer = load_tokenizer(str(tokenizer_stage.local(TOKENIZER)))
    rows = [prefix_distances(allocator, None, document, tokenizer.pieces)[:-1] for document in ids]
    return np.concatenate(rows)


def _write_rows(stage: StageFolder, documents: ScoredDocuments, systems: Mapping[str, FloatArray]) -> None:
    """One row per document: its languages, sizes and log-probability (nats) under every system."""
    columns: dict[str, object] = {
        "doc_id": list(documents.doc_ids),
        "lang": list(documents.langs),
        "tokens": documents.length,
        "bytes": documents.bytes,
    }
    for name, values in systems.items():
        columns[name] = np.add.reduceat(values, documents.offset)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    stage.write(DOCUMENT_ROWS, sink.getvalue())
