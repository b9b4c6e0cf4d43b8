"""From what is known about a token's context to the weight of each expert, under one signature.

Choices where the published texts and code differ: distances are Euclidean and enter as softmax(-d^2/T), as in
the papers; the published code squares a squared distance, which is ``as_coded``. The weights of a token use
all of the text before it; the published code misses the newest token. Weights mix probabilities (``mixing``),
not logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from app.core.errors import ConfigError
from app.core.records import FloatArray
from app.core.suggest import unknown_value


@dataclass(frozen=True)
class WeightingSettings:
    """Which weighting, and its numbers.

    temperature: T > 0 of ``tfidf`` and ``as_coded``; top_m: experts kept per token, 0 keeps all; fixed: (k,)
    weights of ``fixed`` and prior of ``posterior`` (empty: uniform prior), non-negative with a positive sum.
    """

    name: str = "tfidf"
    temperature: float = 0.1
    top_m: int = 0
    fixed: tuple[float, ...] = ()


@dataclass(frozen=True)
class Signals:
    """What is known of the n consecutive tokens of one document.

    distances: (n, k) of the context before each token to the experts, +inf for never; log_probs: (n, k) of
    the tokens themselves under each expert, only read for later tokens; None where the weighting does not
    look at them.
    """

    distances: FloatArray
    log_probs: FloatArray | None = None


Weighting = Callable[[Signals, WeightingSettings], FloatArray]


def uniform(signals: Signals, _settings: WeightingSettings) -> FloatArray:
    """(n, k): 1/k."""
    return np.full(signals.distances.shape, 1.0 / signals.distances.shape[1])


def one_hot(signals: Signals, _settings: WeightingSettings) -> FloatArray:
    """(n, k): all weight on the nearest expert, the first of equals.

    For language-level allocations that is the expert that owns the language; for others the top-1 by context.
    """
    weights = np.zeros(signals.distances.shape)
    weights[np.arange(len(weights)), signals.distances.argmin(axis=1)] = 1.0
    return weights


def tfidf(signals: Signals, settings: WeightingSettings) -> FloatArray:
    """(n, k): softmax(-d^2/T). Source: arXiv 2401.10440 and 2303.14177, ensembling (T = 0.1 for language
    modelling).
    """
    return _softmax(-np.square(signals.distances) / settings.temperature)


def as_coded(signals: Signals, settings: WeightingSettings) -> FloatArray:
    """(n, k): softmax(-d^4/T), what the published code of arXiv 2401.10440 computes."""
    return _softmax(-np.square(np.square(signals.distances)) / settings.temperature)


def posterior(signals: Signals, settings: WeightingSettings) -> FloatArray:
    """(n, k): prior_e times the product of p_e over the document's tokens before this one, normalised.

    What Bayes' rule gives for an expert that wrote the whole document; the published ``bayes`` looks at the
    last token only. Raises ConfigError without log-probabilities, or if every expert of the prior rules a
    token out.
    """
    if signals.log_probs is None:
        raise ConfigError("weighting posterior needs the log-probabilities of the tokens; choose another weighting")
    n, k = signals.distances.shape
    with np.errstate(divide="ignore"):
        prior = np.log(_prior(settings, k))
    before = np.zeros((n, k))
    np.cumsum(signals.log_probs[: max(0, n - 1)], axis=0, out=before[1:])
    scores = prior + before
    if np.isneginf(scores).all(axis=1).any():
        raise ConfigError("weighting posterior: every expert gives some token probability 0; choose another weighting")
    return _softmax(scores)


def fixed(signals: Signals, settings: WeightingSettings) -> FloatArray:
    """(n, k): the configured weights, normalised. Raises ConfigError unless there are k of them."""
    if not settings.fixed:
        raise ConfigError("weighting fixed needs one weight for each expert; give them or choose another weighting")
    return np.tile(_prior(settings, signals.distances.shape[1]), (len(signals.distances), 1))


WEIGHTINGS: Mapping[str, Weighting] = {
    "uniform": uniform,
    "one_hot": one_hot,
    "tfidf": tfidf,
    "as_coded": as_coded,
    "posterior": posterior,
    "fixed": fixed,
}


def expert_weights(signals: Signals, settings: WeightingSettings) -> FloatArray:
    """(n, k) weights of the named weighting, cut to the top m: rows sum to 1.

    Raises ConfigError for an unknown weighting, T <= 0 or top_m outside 0..k.
    """
    if settings.name not in WEIGHTINGS:
        raise ConfigError(unknown_value("ensemble weighting", settings.name, WEIGHTINGS))
    if not settings.temperature > 0:
        raise ConfigError(f"ensemble temperature is {settings.temperature}; choose a number above 0, e.g. 0.1")
    return top_m(WEIGHTINGS[settings.name](signals, settings), settings.top_m)


def top_m(weights: FloatArray, m: int) -> FloatArray:
    """(n, k): the m largest weights of each row, renormalised; equal ones by index; m = 0 keeps all.

    weights: (n, k), rows sum to 1. Raises ConfigError if m is outside 0..k.
    """
    k = weights.shape[1]
    if not 0 <= m <= k:
        raise ConfigError(f"top_m is {m} but there are {k} experts; choose 1 to {k}, or 0 for all")
    if m in (0, k):
        return weights
    rank = np.argsort(np.argsort(-weights, axis=1, kind="stable"), axis=1, kind="stable")
    kept = np.where(rank < m, weights, 0.0)
    normalised: FloatArray = kept / kept.sum(axis=1, keepdims=True)
    return normalised


def _prior(settings: WeightingSettings, k: int) -> FloatArray:
    given = np.array(settings.fixed or (1.0,) * k, dtype=np.float64)
    if given.shape != (k,) or not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
        raise ConfigError(
            f"fixed weights are {settings.fixed}; give {k} numbers of at least 0, one for each expert, not all 0"
        )
    normalised: FloatArray = given / given.sum()
    return normalised


def _softmax(scores: FloatArray) -> FloatArray:
    """Row-wise; -inf scores get weight 0. Each row has a finite score."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    normalised: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return normalised
