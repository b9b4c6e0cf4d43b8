"""Many weightings of the same scored documents at once: what ``routing.document_weights`` and ``mixing`` give for each.

Weightings that forget and drop alike are one axis of an array, whatever their prior, power and temperature. Evidence is
linear in the power (s_t = gamma times the sum for gamma = 1), so it is summed once for all of them; and every top-m
comes from one ranking. Float64 throughout: only the order of sums differs from one weighting at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.core.records import FloatArray, IntArray
from app.ensemble.rules import WeightingSettings, resolved_settings, rule_of
from app.ensemble.weights import LEAST_LOG_PROB, start_weights

_AT_ONCE = 1 << 14
"""Numbers that a step works on: they stay in a core's cache, and Python's own time stays small beside them."""
# Finite, because masks are multiplied in: 0 times -inf would be NaN.
_DROPPED = -1e9
"""Added to the log weight of whoever is dropped."""
_LEAST = -600.0
"""Log weight, over the largest, of whoever has none: exp of less is slow, and this much changes no sum."""
_TILT = 1e-14
"""What each expert's weight is lowered by against the one before it, as a share: a tie goes to the first."""

Prior = tuple[float, ...] | None
"""(k,) weights before any text; None for equal ones."""


@dataclass(frozen=True)
class Candidate:
    """A weighting to try, and the prior that it starts from; a rule that looks at none ignores it."""

    settings: WeightingSettings
    prior: Prior = None


@dataclass(frozen=True)
class _Texts:
    """Documents by falling length. begins, length: of each; order: its number; scores: (k, N); shifted: (k, N)
    probabilities over the largest of each token, whose log is ``highest``, (N,).
    """

    order: IntArray
    begins: IntArray
    length: IntArray
    scores: FloatArray
    shifted: FloatArray
    highest: FloatArray


def document_log_probs(
    candidates: Sequence[Candidate],
    lengths: Sequence[int] | IntArray,
    log_probs: FloatArray,
    distances: FloatArray | None = None,
) -> FloatArray:
    """(S, D) nats of D documents, laid end to end, under the mixtures of S weightings; no language is told.

    lengths: tokens of each document, at least 1, adding up to N; log_probs: (N, k) finite nats of the tokens;
    distances: (N, k) of the text before each token, where a rule needs them. Raises ConfigError as ``start_weights``.
    """
    length = np.asarray(lengths, dtype=np.int64)
    assert length.sum() == len(log_probs) and length.min(initial=1) > 0
    found, texts = np.empty((len(candidates), len(length))), _texts(length, log_probs)
    for alike in _alike(candidates, log_probs.shape[1], distances).values():
        tops = sorted({candidates[place].settings.top_m for places in alike.values() for place in places})
        room = max(1, _AT_ONCE // (log_probs.shape[1] * len(length)))
        columns = list(alike)
        for at in range(0, len(columns), room):
            sums = _sums(columns[at : at + room], tops, texts, distances)
            for number, column in enumerate(columns[at : at + room]):
                for place in alike[column]:
                    found[place, texts.order] = sums[tops.index(candidates[place].settings.top_m)][number]
    return found


def _texts(length: IntArray, log_probs: FloatArray) -> _Texts:
    order = np.argsort(-length, kind="stable")
    begins = np.concatenate([[0], np.cumsum(length)[:-1]])[order]
    scores = np.ascontiguousarray(log_probs.T, dtype=np.float64)
    highest = scores.max(axis=0)
    return _Texts(order, begins, length[order], scores, np.exp(scores - highest), highest)


def _alike(
    candidates: Sequence[Candidate], k: int, distances: FloatArray | None
) -> dict[tuple[bool, bool, float, float, int], dict[Candidate, list[int]]]:
    """Candidates without top-m -> their places, by what those that are computed together must share."""
    first = None if distances is None else distances[:1]
    groups: dict[tuple[bool, bool, float, float, int], dict[Candidate, list[int]]] = {}
    for place, (settings, prior) in enumerate((each.settings, each.prior) for each in candidates):
        start_weights(settings, k, 1, prior, first)  # what cannot be used is said in the same words
        rule, chosen = rule_of(settings), replace(resolved_settings(settings), top_m=0)
        shared = (rule.needs.scores, rule.needs.distances, chosen.forgetting, chosen.drop_below, chosen.rescore_every)
        column = Candidate(chosen, prior if rule.uses_prior else None)
        groups.setdefault(shared, {}).setdefault(column, []).append(place)
    return groups


def _sums(columns: Sequence[Candidate], tops: Sequence[int], texts: _Texts, distances: FloatArray | None) -> FloatArray:
    """(tops, S, D) nats of the documents in the order of ``texts``, for weightings that are alike."""
    settings, k = columns[0].settings, len(texts.scores)
    needs = rule_of(settings).needs
    bases = [_base(column, k, distances if needs.distances else None) for column in columns]
    base = np.stack(bases, axis=1)  # (k, S, N) or (k, S, 1)
    power = np.array([[column.settings.power if needs.scores else 0.0] for column in columns])
    never, every = np.isneginf(base[:, :, :1]), settings.rescore_every
    evidence, dropped = np.zeros((k, 1, len(texts.length))), np.zeros((k, len(columns), len(texts.length)), dtype=bool)
    dropped |= never
    sums = np.zeros((len(tops), len(columns), len(texts.length)))
    for place in range(int(texts.length[0])):
        # Texts lie by falling length, so those that still go on are a prefix and all cuts are views.
        size = int((texts.length > place).sum())
        tokens = texts.begins[:size] + place
        evidence, dropped = evidence[:, :, :size], dropped[:, :, :size]
        log_weights = power * evidence
        log_weights += base[:, :, tokens] if needs.distances else base
        # The scores of dropped experts are here as well, so looking again needs no catching up.
        if settings.drop_below and every and place % every == 0:
            dropped[:] = never
        weights = _kept(log_weights, dropped, settings.drop_below)
        for number, mixed in enumerate(_mixed(weights, texts.shifted[:, tokens], tops)):
            sums[number, :, :size] += np.log(mixed) + texts.highest[tokens]
        # Last: the token enters the evidence only after its own weights are made.
        evidence = settings.forgetting * evidence + np.maximum(texts.scores[:, None, tokens], LEAST_LOG_PROB)
    return sums


def _base(column: Candidate, k: int, distances: FloatArray | None) -> FloatArray:
    """(k, N) log weights before any evidence, or (k, 1) where they are the same for all tokens."""
    prior = np.ones(k) if column.prior is None else np.asarray(column.prior)
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior / prior.sum())
    seen = np.zeros((1, k)) if distances is None else distances
    return rule_of(column.settings).base(np.broadcast_to(log_prior, seen.shape), seen, column.settings.temperature).T


def _kept(log_weights: FloatArray, dropped: NDArray[np.bool_], drop_below: float) -> FloatArray:
    """(k, S, B) weights up to a factor, 0 for those dropped; whoever falls below is entered in ``dropped``.

    Masks are multiplied in: that takes a sixth of the time of an assignment where they hold.
    """
    if drop_below:
        log_weights += dropped * _DROPPED
    log_weights -= log_weights.max(axis=0)
    np.maximum(log_weights, _LEAST, out=log_weights)
    weights: FloatArray = np.exp(log_weights, out=log_weights)
    if drop_below:
        # The largest weight is exp(0) = 1 here, so a limit of at most 1 never drops the heaviest.
        dropped |= weights < np.minimum(drop_below * weights.sum(axis=0), 1.0)
        weights *= ~dropped
    return weights


def _mixed(weights: FloatArray, probabilities: FloatArray, tops: Sequence[int]) -> Iterator[FloatArray]:
    """For each top-m, ascending, (S, B) means of the probabilities, (k, B), under the m largest weights; 0 is all.

    weights: (k, S, B), used up.
    """
    if 0 in tops:
        yield np.einsum("ksb,kb->sb", weights, probabilities) / weights.sum(axis=0)
    most = max(tops, default=0)
    if most:
        weights *= (1.0 - _TILT * np.arange(len(weights)))[:, None, None]
    gained, mass = np.zeros(weights.shape[1:]), np.zeros(weights.shape[1:])
    for m in range(1, most + 1):
        largest = weights.max(axis=0)
        chosen = weights == largest
        gained += largest * (chosen * probabilities[:, None]).sum(axis=0)
        mass += largest
        weights *= ~chosen
        if m in tops:
            yield gained / mass
