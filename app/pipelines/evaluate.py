"""The ensemble against dense, seed and its own experts, from the scores of each model."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from app.allocation.base import Allocator
from app.allocation.storage import load_allocator
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, read_ensemble, regrown, write_ensemble
from app.artifacts.layout import ALLOCATOR, CURRENT_ENSEMBLE, EVALUATION_SUMMARY, SUMMARY, distances_name
from app.artifacts.store import StageFolder
from app.core.records import FloatArray, JsonObject
from app.core.units import format_seconds
from app.evaluation.document_rows import row_writer
from app.evaluation.scores import CELLS_AT_ONCE, ScoredBlock, read_blocks, write_array
from app.evaluation.systems import (
    DENSE,
    ENSEMBLE,
    SEED,
    ExpertEvidence,
    System,
    compared_systems,
    home_of,
    use_experts,
    used_alone,
)
from app.evaluation.totals import Totals, document_sums
from app.evaluation.win_rate import summarise
from app.lineage.adapted import base_allocation, grown_shares
from app.lineage.inputs import evaluation_inputs, planned
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import weighting_settings
from app.pipelines.distances import with_distances
from app.pipelines.merge import make_merges, merged_from
from app.pipelines.score import score_models
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)


def make_evaluation(lineage: Lineage) -> Made:
    """Score what is not scored, compare, and write the run's ensemble and ``evaluation/summary.json``."""
    models = lineage.models()
    # Raises for a model that is not made, before the others are scored.
    for model in models.values():
        model.manifest()
    record = ensemble_record(lineage)
    # The merges: no stage of the lineage, named by the record alone.
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
    _register(lineage, record)
    return {"evaluation": stage.folder, **{f"scores-{name}": made for name, made in scores.items()}}


def _register(lineage: Lineage, record: EnsembleRecord) -> None:
    """Make the record the run's current ensemble. An evaluation knows nothing of later rounds: their experts and other
    added models stay where they still fit, and whose languages leave is said.
    """
    if not lineage.run.exists(CURRENT_ENSEMBLE):
        write_ensemble(lineage.run, record)
        return
    current = read_ensemble(lineage.run, "")
    # An older cut may have been removed from the store since; then nothing can have grown from this one.
    is_there = lineage.store.stage("allocation", current.allocation).is_complete
    base, added = base_allocation(lineage.store, current.allocation) if is_there else ("", [])
    shares = grown_shares(record.shares, len(record.experts), added)
    grown = regrown(current, record, shares) if base == record.allocation else None
    version = write_ensemble(lineage.run, grown or record).version
    later = sorted({lang for expert in current.experts if expert.round for lang in expert.languages})
    if later and grown:
        log.info("evaluate: version %d has the experts of later rounds too", version)
    elif later:
        log.warning(
            "evaluate: the first experts are others than in version %d, so %s left the ensemble with version %d; add"
            " them again with jobs.adapt",
            current.version,
            ", ".join(later),
            version,
        )


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
        shares=held,
        # Serving starts texts as they were evaluated.
        starts_equal=lineage.config.evaluation.prior != "language",
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
    prior = config.evaluation.prior
    systems = compared_systems(list(scores), weighting_settings(config), allocator.unit, prior)
    measured = _measure(lineage, scores, allocator, systems, stage)
    found = measured.totals.by_system()
    # By shares and not by the allocator, whose cut may be one of documents.
    homes = {lang: allocator.experts[home_of(held)] for lang, held in language_shares(lineage).items()}
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
        **summarise(found, _exposure(lineage, systems, record), samples, seed, ENSEMBLE, ordered),
        "made": {system.name: _made(system, measured) for system in systems},
        "expert_of_language": homes,
    }


@dataclass
class _Measured:
    """Sums of every system over all blocks. running, passes: as ``Used`` has them."""

    systems: Sequence[System]
    experts: Sequence[str]
    totals: Totals = field(default_factory=Totals)
    tokens: int = 0
    running: Counter[str] = field(default_factory=Counter)
    passes: Counter[str] = field(default_factory=Counter)

    def add(
        self, block: ScoredBlock, distances: FloatArray, shares: Mapping[str, FloatArray], unit: str
    ) -> dict[str, FloatArray]:
        """Compute every system on a block, piece by piece; returns system -> (documents,) nats. See ExpertEvidence."""
        sums: dict[str, list[FloatArray]] = {system.name: [] for system in self.systems}
        for documents, tokens in block.documents.pieces(max(1, CELLS_AT_ONCE // len(self.experts))):
            # (tokens,) each: kept as float32, mixed and added up in float64.
            log_probs = {name: values[tokens].astype(np.float64) for name, values in block.log_probs.items()}
            # (tokens, k)
            scores = np.stack([log_probs[name] for name in self.experts], axis=1)
            evidence = ExpertEvidence(scores, distances[tokens], shares, unit)
            self.tokens += documents.num_tokens
            for system in self.systems:
                alone = not system.uses_experts
                used = used_alone(log_probs[system.name]) if alone else use_experts(system, documents, evidence)
                self.running[system.name] += used.running
                self.passes[system.name] += used.passes
                sums[system.name].append(document_sums(documents, used.log_probs))
        found = {name: np.concatenate(parts) for name, parts in sums.items()}
        self.totals.add(block.documents.langs, block.documents.length, block.documents.bytes, found)
        return found


def _measure(
    lineage: Lineage,
    scores: Mapping[str, StageFolder],
    allocator: Allocator,
    systems: Sequence[System],
    stage: StageFolder,
) -> _Measured:
    """Every system on every block; writes distances and a row for each document as it goes."""
    shares, measured = language_shares(lineage), _Measured(systems, allocator.experts)
    with row_writer(stage, [system.name for system in systems]) as rows:
        for number, (block, distances) in enumerate(with_distances(lineage, allocator, read_blocks(scores))):
            # For tune.weights, which tries other rules on what is kept and runs no model.
            write_array(stage, distances_name(number), distances.astype(np.float32))
            rows.add(block.documents, measured.add(block, distances, shares, allocator.unit))
    return measured


def _made(system: System, measured: _Measured) -> JsonObject:
    """How a system is made, for readers of the summary."""
    return {
        "kind": system.kind,
        "told_language": system.told,
        "weighting": system.weighting.name if system.kind == "mixture" and system.weighting else None,
        "experts_per_token": measured.running[system.name] / measured.tokens,
        "passes_per_token": measured.passes[system.name] / measured.tokens,
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
