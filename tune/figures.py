"""What a trial is judged by, from its run; several figures, so that nobody has to believe in one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import read_ensemble
from app.artifacts.layout import SUMMARY
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.records import JsonObject, JsonValue

LOWEST = "mean_log_perplexity"
LEAST = "mean_log_ratio"
"""The figure whose least value is best: mean over languages of log(ppl / ppl(dense)), no language told."""


FIGURES = (
    *(LEAST, "low", "high", LOWEST, "worst_language", "worst_log_ratio", "wins", "clear_wins", "languages"),
    *("experts_per_token", "active_parameters", "total_parameters"),
    *("training_seconds", "slot_hours", "gpu_hours", "tokens"),
)
"""What is kept of a trial's figures: the rest is Tune's own bookkeeping."""


def trial_figures(config: Config, store: Store) -> JsonObject:
    """Figures of the config's run, which is finished.

    mean_log_ratio with its interval; mean_log_perplexity of the ensemble itself, over languages; worst_language and its
    log ratio; wins and clear wins; experts per token, and active and total parameters of the experts; seconds of
    training of all its models, shared ones included, and hours of slots (of GPUs, where they train): both of all
    attempts at them, lost work included, as far as their metrics tell: not what a killed attempt did before its first
    line or after its last.
    """
    folder = store.run(config.run.name)
    summary = folder.read_json(SUMMARY)
    record = read_ensemble(folder, "")
    counts = {name: store.stage("model", key).counts(ModelCounts) for name, key in record.models.items()}
    # Experts of later rounds were added to the finished run (jobs.adapt): they are not what the sweep tried.
    firsts = [expert for expert in record.experts if not expert.round]
    experts = [store.stage("model", expert.model).counts(ModelCounts) for expert in firsts]
    worst, change = _worst(_mapping(summary["per_language"]))
    run_at_once = float(str(_mapping(_mapping(summary["made"])["ensemble"])["experts_per_token"]))
    # All branch from one seed, so they are of one size.
    size = experts[0].parameters
    # By key: the one expert of k = 1 is the dense model, and was trained once.
    trained = {record.models[name]: made for name, made in counts.items()}
    trained |= {expert.model: made for expert, made in zip(firsts, experts, strict=True)}
    on_gpus = [made for made in trained.values() if made.device != "cpu"]
    return {
        LEAST: summary["mean_log_perplexity_ratio"],
        "low": summary["mean_log_perplexity_ratio_low"],
        "high": summary["mean_log_perplexity_ratio_high"],
        LOWEST: _mean_log_perplexity(_mapping(summary["per_language"])),
        "worst_language": worst,
        "worst_log_ratio": change,
        "wins": summary["wins_over_dense"],
        "clear_wins": summary["clear_wins_over_dense"],
        "languages": summary["languages_compared"],
        "experts_per_token": run_at_once,
        "active_parameters": run_at_once * size,
        "total_parameters": sum(expert.parameters for expert in experts),
        "training_seconds": sum(made.training_seconds for made in trained.values()),
        "slot_hours": slot_hours(trained.values()),
        "gpu_hours": slot_hours(on_gpus) * config.training.gpus_per_expert,
        "tokens": summary["tokens_total"],
    }


def slot_hours(models: Iterable[ModelCounts]) -> float:
    """Hours of slots that these models' training took, every worker counted."""
    return sum(made.training_seconds * made.workers for made in models) / 3600


def _worst(table: Mapping[str, JsonValue]) -> tuple[str, float]:
    changes = {
        lang: math.log1p(float(str(_mapping(_mapping(cells)["ensemble"])["change_from_dense"])))
        for lang, cells in table.items()
    }
    worst = max(changes, key=lambda lang: changes[lang])
    return worst, changes[worst]


def _mean_log_perplexity(table: Mapping[str, JsonValue]) -> float:
    found = [float(str(_mapping(_mapping(cells)["ensemble"])["perplexity"])) for cells in table.values()]
    return sum(map(math.log, found)) / len(found)


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    assert isinstance(value, dict)
    return value
