"""What a sweep would train, from its configuration alone: models, those that trials share, tokens, FLOPs, hours."""

from __future__ import annotations

from collections.abc import Sequence

from app.config.schema import Config
from app.core.errors import XelmError
from app.core.records import JsonObject
from app.planning.costs import slot_counts
from app.planning.forecast import forecast_clusters
from app.planning.makespan import makespan
from app.planning.outlook import SEED, Work
from app.planning.plan import assumptions, planned_work, seed_size
from tune.space import Trial

_OF_THE_SEED = ("seed_width", "mixture", "random_seed")
_OF_TRAINING = (*_OF_THE_SEED, "learning_rate", "tokens_per_step", "budget_tokens")
"""Axes that a seed's, and every other model's, training depends on; the rest cuts the corpus or weighs experts."""
_HOUR = 3600.0

Identity = tuple[object, ...]


def sweep_forecast(config: Config, trials: Sequence[Trial]) -> JsonObject:
    """Models of all trials, each once, and what the trials would train without sharing; hours only where GPUs train.

    Two experts are one where their trainings and their languages are. For cuts of documents only the corpus can tell,
    so there may be fewer models than forecast, never more. ``impossible``: run -> why, of trials that cannot be cut or
    trained as they ask; they count nowhere else. Raises ConfigError if a seed's size cannot be known.
    """
    distinct: dict[Identity, tuple[Work, float]] = {}
    impossible: JsonObject = {}
    apart = tokens_apart = 0
    for trial in trials:
        size = seed_size(trial.config)
        try:
            works = planned_work(trial.config, size)
        except XelmError as error:
            impossible[trial.name] = str(error)
            continue
        seconds = _seconds(trial.config, works)
        for identity, work, time in zip(_identities(trial, works), works, seconds, strict=True):
            apart, tokens_apart = apart + 1, tokens_apart + work.tokens
            distinct.setdefault(identity, (work, time))
    works = [work for work, _ in distinct.values()]
    result: JsonObject = {
        "trials": len(trials) - len(impossible),
        "impossible": impossible,
        "models": len(works),
        "shared": apart - len(works),
        "tokens": sum(work.tokens for work in works),
        "tokens_without_sharing": tokens_apart,
        "flops": sum(work.flops for work in works),
        "hours": None,
    }
    if config.training.gpus_per_expert and distinct:
        result["hours"] = list(_hours(config, list(distinct.values())))
    return result


def _identities(trial: Trial, works: Sequence[Work]) -> list[Identity]:
    """What each model of a trial is, as far as the configuration tells."""
    seed, training = (tuple(trial.settings.get(axis) for axis in axes) for axes in (_OF_THE_SEED, _OF_TRAINING))
    clusters = forecast_clusters(trial.config)
    cut = (trial.config.allocation.strategy, trial.config.allocation.k)
    found: list[Identity] = []
    for work in works:
        if work.name == SEED:
            # By its steps: they are the experts' unless it has its own. Text may be read for a budget, and a mixture
            # that limits epochs made for one.
            corpus, budget = trial.config.corpus, trial.config.training.budget_tokens
            text = budget if corpus.enough_for_budget or corpus.mixture == "unimax" else None
            found.append((SEED, work.steps, text, *seed))
        elif not work.name.startswith("expert"):
            # By its steps too: with baselines.*.equal_steps they are those of an expert, and another k has others.
            found.append((work.name, work.steps, *training))
        else:
            number = int(work.name.removeprefix("expert-"))
            # By its languages and not its number: two cuts may number the same cluster differently.
            part = tuple(sorted(clusters[number])) if clusters else (*cut, number)
            found.append(("expert", part, work.tokens, *training))
    return found


def _seconds(config: Config, works: Sequence[Work]) -> list[float]:
    """Undisturbed time of each on its GPUs, 0 where CPUs train."""
    if not config.training.gpus_per_expert:
        return [0.0] * len(works)
    assumed = assumptions(config, save=0.0, stall=0.0)
    return [assumed.seconds(work) for work in works]


def _hours(config: Config, models: Sequence[tuple[Work, float]]) -> list[JsonObject]:
    """By number of GPUs: the seeds as one fleet, then all other models as another."""
    named = {str(number): pair for number, pair in enumerate(models)}
    seconds = {name: time for name, (_, time) in named.items()}
    fleets = [
        {name: work.tokens for name, (work, _) in named.items() if (work.name == SEED) is seeds}
        for seeds in (True, False)
    ]
    gpus = config.training.gpus_per_expert * config.training.workers_per_expert[0]
    return [
        {"gpus": slots * gpus, "hours": sum(makespan(fleet, seconds, slots) for fleet in fleets) / _HOUR}
        for slots in slot_counts(len(fleets[1]))
    ]
