"""What a round of new languages will take: tokens, steps, FLOPs and time of each model that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from statistics import median

from app.adaptation.rounds import NewExpert
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import EnsembleRecord
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ArtifactError, ConfigError
from app.core.records import JsonObject
from app.lineage.adapted import expert_budget, lapt_budgets
from app.models.sizes import ModelSize
from app.planning.outlook import DENSE
from app.planning.plan import assumptions, model_work, seed_size


def forecast_round(
    config: Config, store: Store, added: Sequence[NewExpert], first_experts: int, record: EnsembleRecord | None
) -> JsonObject:
    """``models``: ``name``, ``tokens``, ``steps``, ``flops`` (None while the seed's size is unknown) and ``seconds``
    of each: on GPUs from ``planning``, else as fast as the run's own experts have trained, None where there is neither.

    first_experts: number of experts that are of no round. record: the run's ensemble, None while it is yet to be made.
    """
    size = None
    with suppress(ConfigError):  # a seed that is not here has no size
        size = seed_size(config)
    speed, budget = _measured_speed(store, record), expert_budget(config, first_experts)
    budgets = {new.name: budget for new in added}
    if config.adaptation.lapt and (DENSE in config.baselines if record is None else DENSE in record.models):
        for new in added:
            budgets |= lapt_budgets(config, new, budget)
    return {
        "models": [_model(config, name, tokens, size, speed) for name, tokens in budgets.items()],
        "time_from": "planning" if config.training.gpus_per_expert else "the run's experts" if speed else None,
    }


def _model(config: Config, name: str, budget: int, size: ModelSize | None, speed: float | None) -> JsonObject:
    work = model_work(config, size, name, budget, config.training.tokens_per_step)
    seconds = work.tokens / speed if speed else None
    if config.training.gpus_per_expert:
        # Undisturbed time asks for no saves, so their seconds do not matter here.
        seconds = assumptions(config, 0.0, 0.0).seconds(work) if size else None
    return {**asdict(work), "flops": work.flops or None, "seconds": seconds}


def _measured_speed(store: Store, record: EnsembleRecord | None) -> float | None:
    """Median of the experts' tokens per second; None where none was trained here."""
    found = []
    for expert in record.experts if record else ():
        with suppress(ArtifactError):  # made by an older version, or gone: then it lends nothing
            counts = store.stage("model", expert.model).counts(ModelCounts)
            if counts.training_seconds and counts.tokens_seen:
                found.append(counts.tokens_seen / counts.training_seconds)
    return median(found) if found else None
