"""The section `sweep`: what a sweep tries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.config.fields import Names, NonNegativeInt, PositiveFloat, PositiveInt, Section, as_values

Whole = Annotated[tuple[PositiveInt, ...], BeforeValidator(as_values)]
Counts = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(as_values)]
Numbers = Annotated[tuple[PositiveFloat, ...], BeforeValidator(as_values)]


class SweepConfig(Section):
    """Values to try of each setting (`python -m tune.sweep`); an empty one keeps the value that the config has."""

    k: Whole = ()
    """Of `allocation.k`."""
    strategy: Names = ()
    """Of `allocation.strategy`."""
    weighting: Names = ()
    """Of `evaluation.weighting`."""
    temperature: Numbers = ()
    """Of `evaluation.temperature`."""
    power: Numbers = ()
    """Of `evaluation.power`."""
    top_m: Counts = ()
    """Of `evaluation.top_m`."""
    learning_rate: Numbers = ()
    """Of `training.learning_rate`."""
    tokens_per_step: Whole = ()
    """Of `training.tokens_per_step`; set `seed.tokens_per_step`, else every trial of a trained seed has its own."""
    budget_tokens: Whole = ()
    """Of `training.budget_tokens`."""
    seed_width: Whole = ()
    """Of `seed.width`, of a seed that is trained; the feed-forward stays four times as wide."""
    mixture: Names = ()
    """Of `corpus.mixture`."""
    random_seed: Counts = ()
    """Of `run.seed`."""
    fresh_seeds: Counts = ()
    """Random seeds that `tune.confirm` trains the chosen recipes with; none of them chose."""
    searcher: Literal["grid", "random", "optuna"] = "grid"
    """Every combination; `trials` of them drawn at random; or `trials` chosen one after the other by Optuna."""
    trials: Annotated[int, Field(gt=0)] = 20
    """Trials of `random` and `optuna`."""
