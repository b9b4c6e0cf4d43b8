"""Single models averaged from a run's experts: made once, served and scored like any other model."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from app.artifacts.counts import ModelCounts
from app.artifacts.digests import weights_digest
from app.artifacts.ensemble import ExpertRecord, read_ensemble, write_ensemble
from app.artifacts.layout import FINAL_MODEL
from app.artifacts.store import StageFolder, Store
from app.config.merging import MergeConfig
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.core.suggest import unknown_value
from app.core.typed import from_json
from app.lineage.inputs import EVALUATE, TRAIN, StageInputs, planned
from app.models.average import average_models
from app.models.causal import CausalLM
from app.models.load import count_parameters, load_model, save_model

log = logging.getLogger(__name__)

MERGE = "python -m jobs.merge"
UNLESS_CONFIGURED = {"merged": MergeConfig()}


def merge_run(config: Config, store: Store) -> JsonObject:
    """Make the merges of the config, or one with equal weights, and add them to the run's ensemble as a new version.

    Raises MissingArtifact if the run has no ensemble, StaleArtifact if it has moved on meanwhile, and what
    ``make_merges`` raises.
    """
    run = store.run(config.run.name)
    record = read_ensemble(run, f"run {EVALUATE} with this config first")
    made = make_merges(store, record.experts, record.shares, config.merges or UNLESS_CONFIGURED)
    models = {**record.models, **{name: stage.key for name, stage in made.items()}}
    # Refused if a round was registered meanwhile: this version would be without its experts.
    version = write_ensemble(run, replace(record, models=models), grown_from=record.version).version
    weights: JsonObject = {name: dict(merged_from(stage)) for name, stage in made.items()}
    return {"merged": weights, "version": version}


def make_merges(
    store: Store,
    experts: Sequence[ExpertRecord],
    shares: Mapping[str, Sequence[float]],
    merges: Mapping[str, MergeConfig],
) -> dict[str, StageFolder]:
    """Name -> finished model of each merge; a merge of equal experts and weights is made once.

    shares: language -> share of its training text that each expert holds. Raises ConfigError for an expert or a
    language that is not there, and for experts of different shapes.
    """
    return {name: _merged(store, name, experts, merge_weights(name, merges[name], experts, shares)) for name in merges}


def merge_weights(
    name: str, merge: MergeConfig, experts: Sequence[ExpertRecord], shares: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Expert -> weight above 0 of a merge; they sum to 1. Raises ConfigError as ``make_merges`` does."""
    names = [expert.name for expert in experts]
    if merge.language and merge.language not in shares:
        raise ConfigError(unknown_value(f"merges.{name}.language", merge.language, shares))
    given = dict(merge.weights) or dict.fromkeys(names, 1.0)
    if merge.language:
        given = dict(zip(names, shares[merge.language], strict=True))
    for expert in given:
        if expert not in names:
            raise ConfigError(unknown_value(f"merges.{name}.weights", expert, names))
    total = sum(given.values())
    # Without weights of 0, so that such an expert is neither loaded nor a parent: equal averages have one key.
    return {expert: given[expert] / total for expert in names if given.get(expert)}


def merged_from(stage: StageFolder) -> Mapping[str, float]:
    """Expert -> weight of a finished merge."""
    return from_json(_Fields, stage.manifest().fields, stage.uri).weights


@dataclass(frozen=True)
class _Fields:
    kind: str
    weights: Mapping[str, float]


def _loaded(expert: StageFolder) -> CausalLM:
    with expert.at_hand(FINAL_MODEL) as folder:
        return load_model(str(folder))


def _merged(store: Store, name: str, experts: Sequence[ExpertRecord], weights: Mapping[str, float]) -> StageFolder:
    started = time.monotonic()
    parents = {expert.name: expert.model for expert in experts if expert.name in weights}
    stage = planned(StageInputs("model", {"kind": "merged", "weights": dict(weights)}, parents, MERGE), store)
    if stage.is_complete:
        return stage.folder
    stages = [store.stage("model", key, TRAIN) for key in parents.values()]
    # All are looked for before the first is loaded.
    for expert in stages:
        expert.manifest()
    # A generator: two models are in memory at once, however many are averaged.
    models = (_loaded(expert) for expert in stages)
    # Both are in the ensemble's order: parents and weights were made from it.
    model = average_models(models, list(weights.values()))
    with tempfile.TemporaryDirectory(prefix="xelm-merge-") as temporary:
        folder = Path(temporary) / FINAL_MODEL
        shown = ", ".join(f"{expert} {weight:.3g}" for expert, weight in weights.items())
        save_model(model, folder, f"# {name}\n\nThe parameters averaged: {shown}.\n")
        counts = ModelCounts(name, count_parameters(model), weights_digest(folder))
        stage.folder.upload(folder, FINAL_MODEL)
    stage.publish(asdict(counts), time.monotonic() - started)
    log.info("merge: %s of %d experts", name, len(weights))
    return stage.folder
