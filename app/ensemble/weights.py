"""The experts' weights of texts that grow token by token: the one object that serving and evaluation share.

``WeightState`` never changes: each token gives a new one, so a draft that is rejected is forgotten by keeping the old
state. It holds B texts at once, a row each; rows are independent, and a token costs the same however long its text is.
How an engine uses it, for each token::

    state = start_weights(settings, k, rows=1, prior=prior, distances=context.distances()[None])
    run the experts of state.running(); mix with state.weights(); choose the token
    state = state.observe(log_probs of the token (NaN: not run), distances of the longer text)
    where state.due(): run each expert e over the newest state.behind[row, e] tokens of the text,
        state = state.catch_up(row, e, scores)

An expert whose weight has fallen below ``drop_below`` is dropped: it need not run, and the weights of the others are
normalised without it. When a text's length is a multiple of ``rescore_every``, dropped experts are looked at again in
one pass over what they have missed, so a text that switches its language is followed. Since that depends on the text's
length alone, weights do not depend on how much of the text came as a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ConfigError
from app.core.records import FloatArray, IntArray
from app.ensemble.rules import Needs, WeightingSettings, resolved_settings, rule_of

LEAST_LOG_PROB = -1e4
"""Scores are cut here, nats: a token that every expert rules out leaves the weights as they were, not undefined."""


@dataclass(frozen=True)
class WeightState:
    """What is known of B texts; made by ``start_weights``.

    log_prior, distances (zeros where the rule looks at none), evidence: (B, k). dropped: (B, k), experts without weight
    until they are looked at again. behind: (B, k), newest tokens of the text that the expert has not scored. tokens:
    (B,), observed so far.
    """

    settings: WeightingSettings
    log_prior: FloatArray
    distances: FloatArray
    evidence: FloatArray
    dropped: NDArray[np.bool_]
    behind: IntArray
    tokens: IntArray

    @property
    def needs(self) -> Needs:
        """What ``observe`` must be given."""
        return rule_of(self.settings).needs

    def weights(self) -> FloatArray:
        """(B, k) weights of each text's next token; rows sum to 1. No row may be ``due``."""
        assert not self.due().any(), "dropped experts must catch up first"
        return top_m(_normalised(self._log_weights()), self.settings.top_m)

    def running(self) -> NDArray[np.bool_]:
        """(B, k) experts whose log-probabilities of the next token are needed, to mix it or to weigh the one after."""
        return ~self.dropped if self.needs.scores else self.weights() > 0

    def may_run(self) -> NDArray[np.bool_]:
        """(B, k) experts that must run for the next token or may have to for a later one."""
        # Without another look nobody who was dropped comes back.
        return ~(np.isneginf(self.log_prior) if self.settings.rescore_every else self.dropped)

    def looks_again(self) -> NDArray[np.bool_]:
        """(B,) whether a text is as long as dropped experts wait for: a multiple of ``rescore_every`` tokens."""
        every = self.settings.rescore_every
        if not every or not self.settings.drop_below:
            return np.zeros(len(self.tokens), dtype=np.bool_)
        again: NDArray[np.bool_] = self.tokens % every == 0
        return again

    def due(self) -> NDArray[np.bool_]:
        """(B,) texts whose dropped experts must ``catch_up`` before the next token."""
        return self.looks_again() & (self.behind > 0).any(axis=1)

    def observe(self, log_probs: FloatArray | None = None, distances: FloatArray | None = None) -> WeightState:
        """Each text grew by a token.

        log_probs: (B, k) nats of the token, NaN for experts that did not run; all that were ``running`` must be there,
        others may. distances: (B, k) of the text with the token. Either may be None where the rule does not need it.
        """
        grown = replace(self, tokens=self.tokens + 1)
        if self.needs.distances:
            assert distances is not None
            grown = replace(grown, distances=distances)
        if not self.needs.scores:
            return grown
        assert log_probs is not None
        known = ~np.isnan(log_probs)
        assert (known | self.dropped).all(), "an expert that is kept must score every token"
        assert not (known & (self.behind > 0)).any(), "an expert that has missed tokens must catch up first"
        evidence = np.where(known, self._add(self.evidence, log_probs), self.evidence)
        # Without prior an expert never gets weight, so it has nothing to catch up with.
        behind = np.where(known | np.isneginf(self.log_prior), 0, self.behind + 1)
        return replace(grown, evidence=evidence, behind=behind)._drop()

    def catch_up(self, row: int, expert: int, log_probs: FloatArray) -> WeightState:
        """One expert has scored the newest ``behind[row, expert]`` tokens of a text. log_probs: as many, in order."""
        assert len(log_probs) == self.behind[row, expert] > 0
        evidence, behind = self.evidence.copy(), self.behind.copy()
        for value in log_probs:
            evidence[row, expert] = self._add(evidence[row, expert], value)
        behind[row, expert] = 0
        return replace(self, evidence=evidence, behind=behind)._drop()

    def select(self, rows: Sequence[int] | IntArray | slice) -> WeightState:
        """Some of the texts, in this order."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            log_prior=self.log_prior[chosen],
            distances=self.distances[chosen],
            evidence=self.evidence[chosen],
            dropped=self.dropped[chosen],
            behind=self.behind[chosen],
            tokens=self.tokens[chosen],
        )

    def _add(self, evidence: FloatArray, log_probs: FloatArray) -> FloatArray:
        added: FloatArray = self.settings.forgetting * evidence + self.settings.power * np.maximum(
            log_probs, LEAST_LOG_PROB
        )
        return added

    def _drop(self) -> WeightState:
        """Take back those that have caught up where it is time, then drop whoever has too little weight."""
        never = np.isneginf(self.log_prior)
        # The evidence of an expert that still lacks tokens cannot be compared, so all must have caught up first.
        back = self.looks_again() & ~(self.behind > 0).any(axis=1)
        open_to_all = replace(self, dropped=np.where(back[:, None], never, self.dropped))
        weights = _normalised(open_to_all._log_weights())
        # With many experts all weights may lie below the limit; the heaviest stays.
        least = np.minimum(self.settings.drop_below, weights.max(axis=1, keepdims=True))
        return replace(open_to_all, dropped=open_to_all.dropped | (weights < least))

    def _log_weights(self) -> FloatArray:
        """(B, k), not normalised; -inf for those dropped."""
        base = rule_of(self.settings).base(self.log_prior, self.distances, self.settings.temperature)
        return np.where(self.dropped, -np.inf, base + self.evidence)


def start_weights(
    settings: WeightingSettings,
    k: int,
    rows: int = 1,
    prior: FloatArray | Sequence[float] | None = None,
    distances: FloatArray | None = None,
) -> WeightState:
    """The state of ``rows`` texts of which no token is known.

    prior: (k,) or (rows, k) weights of at least 0, not all 0; None is uniform; an expert without prior never has
    weight under the rules that look at it. distances: (rows, k) of the empty text, for the rules that need them.
    Raises ConfigError for settings, a prior or missing distances that cannot be used.
    """
    chosen = resolved_settings(settings)
    rule = rule_of(settings)
    if not 0 <= settings.top_m <= k:
        raise ConfigError(f"top_m is {settings.top_m} but there are {k} experts; choose 1 to {k}, or 0 for all")
    if rule.needs.distances and distances is None:
        raise ConfigError(
            f"weighting {settings.name} needs distances, which this allocation gives only for a language that is named;"
            " name it, or choose weighting posterior"
        )
    log_prior = np.broadcast_to(_log_prior(prior, k), (rows, k))
    if not rule.uses_prior:
        log_prior = np.zeros((rows, k))
    state = WeightState(
        chosen,
        log_prior,
        distances if distances is not None and rule.needs.distances else np.zeros((rows, k)),
        evidence=np.zeros((rows, k)),
        dropped=np.isneginf(log_prior),
        behind=np.zeros((rows, k), dtype=np.int64),
        tokens=np.zeros(rows, dtype=np.int64),
    )
    # An expert whose prior lies below the limit is dropped before the first token, as it would be later.
    return state._drop() if rule.needs.scores else state


def top_m(weights: FloatArray, m: int) -> FloatArray:
    """(n, k): the m largest weights of each row, renormalised; equal ones by index; m = 0 keeps all.

    weights: (n, k), rows sum to 1; m: 0..k.
    """
    k = weights.shape[1]
    if m in (0, k):
        return weights
    # Twice: the inverse of a permutation is each weight's rank. Stable, so that equal weights go by index.
    rank = np.argsort(np.argsort(-weights, axis=1, kind="stable"), axis=1, kind="stable")
    kept = np.where(rank < m, weights, 0.0)
    normalised: FloatArray = kept / kept.sum(axis=1, keepdims=True)
    return normalised


def _log_prior(given: FloatArray | Sequence[float] | None, k: int) -> FloatArray:
    prior = np.ones(k) if given is None else np.asarray(given, dtype=np.float64)
    usable = prior.shape[-1:] == (k,) and bool(np.isfinite(prior).all()) and prior.min() >= 0
    if not usable or (prior.max(axis=-1) <= 0).any():
        raise ConfigError(
            f"the experts' prior weights are {given}; give {k} numbers of at least 0, one for each expert, not all 0"
        )
    scaled = prior / prior.max(axis=-1, keepdims=True)  # their sum may be more than a float holds
    with np.errstate(divide="ignore"):
        logs: FloatArray = np.log(scaled / scaled.sum(axis=-1, keepdims=True))
    return logs


def _normalised(log_weights: FloatArray) -> FloatArray:
    """Softmax of each row; -inf gives weight 0. Each row has a finite entry."""
    exponentials = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    normalised: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return normalised
