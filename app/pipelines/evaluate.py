"""The ensemble against dense, seed and its own experts, from the scores of each model."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from app.allocation.base import Allocator
from app.allocation.prefixes import prefix_distances
from app.allocation.storage import load_allocator
from app.artifacts.counts import AllocationCounts, ModelCounts
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, write_ensemble
from app.artifacts.layout import (
    ALLOCATOR,
    DISTANCES,
    DOCUMENT_ROWS,
    EVALUATION_SUMMARY,
    SUMMARY,
    TOKENIZER,
)
from app.artifacts.store import StageFolder
from app.core.records import FloatArray, IntArray, JsonObject
from app.core.units import format_seconds
from app.ensemble.routing import resolve_weighting
from app.ensemble.weights import WeightingSettings
from app.evaluation.scores import ScoredDocuments, load_scores, write_array
from app.evaluation.systems import MIXED, mixed_systems
from app.evaluation.win_rate import summarise
from app.fleet.ray_session import ray_session
from app.lineage.inputs import evaluation_inputs, planned
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.pipelines.score import score_models, validation_documents
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import load_tokenizer
from app.training.model_task import ModelTask, task_tokens

log = logging.getLogger(__name__)


def make_evaluation(lineage: Lineage) -> Made:
    """Score what is not scored, compare, and write the run's ensemble and ``evaluation/summary.json``."""
    models = lineage.models()
    for model in models.values():
        model.manifest()
    scores = score_models(lineage, models)
    keys = {name: folder.key for name, folder in scores.items()}
    stage = planned(evaluation_inputs(lineage.config, keys, lineage.allocation.key), lineage.store)
    if not stage.is_complete:
        started = time.monotonic()
        summary = _compare(lineage, scores, stage.folder)
        stage.folder.write_json(EVALUATION_SUMMARY, summary)
        stage.publish({"languages": summary["languages_compared"]}, time.monotonic() - started)
        log.info("evaluate: compared in %s", format_seconds(time.monotonic() - started))
    lineage.run.write_json(SUMMARY, stage.folder.read_json(EVALUATION_SUMMARY))
    write_ensemble(lineage.run, ensemble_record(lineage))
    return {"evaluation": stage.folder, **{f"scores-{name}": made for name, made in scores.items()}}


def ensemble_record(lineage: Lineage) -> EnsembleRecord:
    """All that serving needs: experts in order with parent, round and tokens, the allocation, the weighting."""
    evaluation, unit = lineage.config.evaluation, lineage.allocation.folder.counts(AllocationCounts).unit
    rule = resolve_weighting(evaluation.weighting, unit)
    return EnsembleRecord(
        run=lineage.config.run.name,
        experts=tuple(_expert_record(task) for task in lineage.experts),
        allocation=lineage.allocation.key,
        tokenizer=lineage.tokenizer.key,
        models={"seed": lineage.seed.key, **{task.name: task.key for task in lineage.baselines}},
        mixing=asdict(WeightingSettings(rule, evaluation.temperature, evaluation.top_m)),
    )


def _expert_record(task: ModelTask) -> ExpertRecord:
    counts = task.stage.counts(ModelCounts)
    languages = tuple(sorted(task.weights))
    digest, seen = counts.weights_sha256, counts.tokens_seen
    return ExpertRecord(task.name, task.key, task.parent, task.round, languages, digest, seen)


def _compare(lineage: Lineage, scores: Mapping[str, StageFolder], stage: StageFolder) -> JsonObject:
    config, allocation = lineage.config, lineage.allocation.finished()
    tasks = [*lineage.baselines, *lineage.experts]
    allocator = load_allocator(allocation.child(ALLOCATOR).read)
    loaded = {name: load_scores(folder) for name, folder in scores.items()}
    documents = loaded["seed"][0]
    tokens = {name: values.astype(np.float64) for name, (_, values) in loaded.items()}
    experts = np.stack([tokens[name] for name in allocator.experts], axis=1)
    distances = _distances(lineage, allocator, documents)
    corpus = lineage.token_corpus
    home = {lang: _home(tasks, allocator, corpus, lang) for lang in corpus.languages()}
    rule = resolve_weighting(config.evaluation.weighting, allocator.unit)
    settings = WeightingSettings(rule, config.evaluation.temperature, config.evaluation.top_m)
    systems = {**tokens, **mixed_systems(documents, experts, distances, home, settings)}
    write_array(stage, DISTANCES, distances.astype(np.float32))
    _write_rows(stage, documents, systems)
    exposure = _exposure(tasks, set(config.baselines))
    samples, seed = config.evaluation.bootstrap_samples, config.run.seed
    return {
        "run": config.run.name,
        "k": len(allocator.experts),
        "allocation": config.allocation.strategy,
        "weighting": rule,
        "tokens_total": config.training.budget_tokens,
        "tokens_trained": {task.name: task.stage.counts(ModelCounts).tokens_seen for task in tasks},
        "mixture": config.corpus.mixture,
        "protocol": config.evaluation.protocol,
        **summarise(documents, systems, exposure, samples, seed),
        "expert_of_language": {lang: allocator.experts[number] for lang, number in home.items()},
    }


def _exposure(tasks: Sequence[ModelTask], baselines: AbstractSet[str]) -> dict[str, dict[str, int]]:
    """Tokens of each language that each system's models have seen; an ensemble has seen what its experts have."""
    seen: dict[str, dict[str, int]] = {}
    for task in tasks:
        seen[task.name] = dict(task.stage.counts(ModelCounts).exposure_tokens)
    together: dict[str, int] = {}
    for name, counts_by_language in seen.items():
        if name not in baselines:
            for lang, count in counts_by_language.items():
                together[lang] = together.get(lang, 0) + count
    return {**seen, **dict.fromkeys(MIXED, together)}


def _home(tasks: Sequence[ModelTask], allocator: Allocator, corpus: TokenCorpus, lang: str) -> int:
    """The expert that holds most of a language's training tokens."""
    by_name = {task.name: task for task in tasks}
    held = []
    for name in allocator.experts:
        task = by_name[name]
        held.append(task_tokens(task, corpus, lang) if lang in task.weights else 0)
    return int(np.argmax(held))


def _distances(lineage: Lineage, allocator: Allocator, documents: ScoredDocuments) -> FloatArray:
    """(tokens, k): row t is the distance of the text before token t to each expert."""
    if allocator.unit == "language":
        rows = np.stack([allocator.context(lang).distances() for lang in documents.langs])
        return np.repeat(rows, documents.length, axis=0)
    tokenizer, allocation = lineage.tokenizer.finished(), lineage.allocation.finished()
    _, ids = validation_documents(lineage.config, lineage.token_corpus, load_tokenizer(str(tokenizer.local(TOKENIZER))))
    with ray_session(lineage.config.cluster):
        task = ray.remote(_context_distances).options(num_cpus=1)
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
