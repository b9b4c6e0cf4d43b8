"""The rules that weigh experts, each as a record: what it looks at, and what it makes of it.

Every rule has the form alpha_t proportional to base_t * exp(s_t). The base comes from the prior or from distances of
the text so far; the evidence s_t from log-probabilities of the tokens so far,
s_t = lambda s_{t-1} + gamma log p(x_{t-1}). So a rule is told by where its base comes from and by gamma and lambda,
and one recursion (``weights``) serves all.

Choices where the published texts and code differ: distances are Euclidean and enter as softmax(-d^2/T), as in
the papers; the published code squares a squared distance, which is ``as_coded``. The weights of a token use
all of the text before it; the published code misses the newest token. Weights mix probabilities (``mixing``),
not logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from app.core.errors import ConfigError
from app.core.records import FloatArray
from app.core.suggest import unknown_value


@dataclass(frozen=True)
class WeightingSettings:
    """Which rule, and its numbers.

    temperature: T > 0 of the rules that look at distances; top_m: experts mixed per token, 0 mixes all that are kept.
    Of ``posterior`` alone: power: gamma > 0; forgetting: lambda in 0..1, 1 forgets nothing; drop_below: an expert with
    less weight is dropped, 0 drops none; rescore_every: tokens after which dropped experts are looked at again, 0 for
    never.
    """

    name: str = "posterior"
    temperature: float = 0.1
    top_m: int = 0
    power: float = 1.0
    forgetting: float = 1.0
    drop_below: float = 1e-4
    rescore_every: int = 64


@dataclass(frozen=True)
class Needs:
    """What a rule must be shown before each token.

    distances: of the text so far to each expert. scores: log-probability of each token under each expert that is kept.
    """

    distances: bool
    scores: bool


@dataclass(frozen=True)
class Rule:
    """base: (B, k) log prior, (B, k) distances and T -> (B, k) log weights before any evidence."""

    base: Callable[[FloatArray, FloatArray, float], FloatArray]
    needs: Needs

    @property
    def uses_prior(self) -> bool:
        """Whether it starts from the prior."""
        return self.base is _prior

    @property
    def uses_temperature(self) -> bool:
        """Whether it looks at the temperature: the nearest expert is the nearest at any."""
        return self.base in (_squared, _fourth_power)


def rule_of(settings: WeightingSettings) -> Rule:
    """The rule of these settings. Raises ConfigError for an unknown name or a number outside its range."""
    if settings.name not in RULES:
        raise ConfigError(unknown_value("ensemble weighting", settings.name, RULES))
    limits = {
        "temperature": (settings.temperature > 0, "a number above 0, e.g. 0.1"),
        "power": (settings.power > 0, "a number above 0, e.g. 1"),
        "forgetting": (0 <= settings.forgetting <= 1, "a number from 0 to 1, e.g. 1"),
        "drop_below": (0 <= settings.drop_below < 1, "a number from 0 to below 1, e.g. 1e-4"),
        "rescore_every": (settings.rescore_every >= 0, "a number of tokens, or 0 for never"),
    }
    for name, (fits, cure) in limits.items():
        if not fits:
            raise ConfigError(f"ensemble {name} is {getattr(settings, name)}; choose {cure}")
    return RULES[settings.name]


def resolved_settings(settings: WeightingSettings) -> WeightingSettings:
    """The same with the numbers that the recursion uses: the published rules look at the last token and drop nobody."""
    if settings.name == "posterior":
        return settings
    # Evaluated as published, whatever the posterior is tuned to: only then are the rules comparable.
    return replace(settings, power=1.0, forgetting=0.0, drop_below=0.0)


def _uniform(log_prior: FloatArray, _distances: FloatArray, _temperature: float) -> FloatArray:
    return np.zeros(log_prior.shape)


def _prior(log_prior: FloatArray, _distances: FloatArray, _temperature: float) -> FloatArray:
    return log_prior


def _nearest(_log_prior: FloatArray, distances: FloatArray, _temperature: float) -> FloatArray:
    """All weight on the nearest expert, the first of equals."""
    chosen = np.full(distances.shape, -np.inf)
    chosen[np.arange(len(chosen)), distances.argmin(axis=1)] = 0.0
    return chosen


def _squared(_log_prior: FloatArray, distances: FloatArray, temperature: float) -> FloatArray:
    return -np.square(distances) / temperature


def _fourth_power(_log_prior: FloatArray, distances: FloatArray, temperature: float) -> FloatArray:
    return -np.square(np.square(distances)) / temperature


RULES: Mapping[str, Rule] = {
    "uniform": Rule(_uniform, Needs(distances=False, scores=False)),
    "fixed": Rule(_prior, Needs(distances=False, scores=False)),
    "one_hot": Rule(_nearest, Needs(distances=True, scores=False)),
    "tfidf": Rule(_squared, Needs(distances=True, scores=False)),
    "as_coded": Rule(_fourth_power, Needs(distances=True, scores=False)),
    "bayes": Rule(_prior, Needs(distances=False, scores=True)),
    "product_of_experts": Rule(_squared, Needs(distances=True, scores=True)),
    "posterior": Rule(_prior, Needs(distances=False, scores=True)),
}
"""Name -> rule. ``docs/ensemble.md`` has a worked example and the source of each."""
