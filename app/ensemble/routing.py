"""Weights for whole documents whose scores are kept, and for one request that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.records import FloatArray, IntArray
from app.ensemble.rules import RULES, WeightingSettings, rule_of
from app.ensemble.weights import WeightState, start_weights


class ContextState(Protocol):
    """A growing context, as an allocator makes it."""

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """Append text and the token ids that it is made of."""

    def distances(self) -> FloatArray:
        """(k,) distance to each expert."""


class ContextSource(Protocol):
    """The part of an allocator that routing needs."""

    @property
    def unit(self) -> str:
        """``language`` or ``document``."""

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts."""

    def context(self, lang: str | None) -> ContextState:
        """Start of a request."""


@dataclass(frozen=True)
class DocumentWeights:
    """Weights of every token, and what they cost.

    weights: (N, k). running: (N,) experts that must run for each token. passes: (N,) the same with the passes in which
    dropped experts catch up, each counted once at the token before which it is made.
    """

    weights: FloatArray
    running: IntArray
    passes: IntArray


def resolve_weighting(name: str, unit: str, told: bool) -> str:
    """The rule that a configured name stands for.

    ``auto`` is ``one_hot`` where experts own languages and the text's is told, else ``posterior``. Experts that own
    languages have no distance to a text whose language is not told; there a rule that looks at distances gives way to
    ``posterior`` as well.
    """
    if name == "auto":
        return "one_hot" if unit == "language" and told else "posterior"
    blind = unit == "language" and not told and name in RULES and RULES[name].needs.distances
    return "posterior" if blind else name


def document_weights(
    settings: WeightingSettings,
    lengths: Sequence[int] | IntArray,
    log_probs: FloatArray,
    distances: FloatArray | None = None,
    prior: FloatArray | None = None,
) -> DocumentWeights:
    """Weights of the tokens of D documents laid end to end; nothing crosses a document's border.

    lengths: tokens of each document, adding up to N; log_probs: (N, k) nats of the tokens themselves, of which only
    earlier ones are looked at; distances: (N, k) of the text before each token, where the rule needs them; prior: (k,)
    or (D, k). Raises ConfigError (see ``start_weights``).

    The scores of experts that serving would not run are here too, so those come back without a ``catch_up``: at
    the same tokens and with the same weights.
    """
    length = np.asarray(lengths, dtype=np.int64)
    total, k = log_probs.shape
    assert length.sum() == total
    if not total:
        return DocumentWeights(np.empty((0, k)), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    if not rule_of(settings).needs.scores:
        rows = None if prior is None else np.repeat(np.broadcast_to(prior, (len(length), k)), length, axis=0)
        state = start_weights(settings, k, total, rows, distances)
        weights = state.weights()
        running = (weights > 0).sum(axis=1)
        return DocumentWeights(weights, running, running)
    # Longest first: the texts that still go on are a prefix then, and cutting the state to them takes views.
    order = np.argsort(-length, kind="stable")
    begins = np.concatenate([[0], np.cumsum(length)[:-1]])[order]
    longest = length[order]
    first = None if distances is None else distances[np.minimum(begins, total - 1)]
    ordered = prior if prior is None or prior.ndim == 1 else prior[order]
    state = start_weights(settings, k, len(length), ordered, first)
    weights = np.empty((total, k))
    running, passes = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    waiting = _waiting(state)
    for place in range(int(longest.max(initial=0))):
        size = int((longest > place).sum())
        state, waiting = state.select(slice(0, size)), waiting[:size]
        tokens = begins[:size] + place
        # Before observe: a token must not take part in its own weights.
        weights[tokens] = state.weights()
        running[tokens] = state.running().sum(axis=1)
        passes[tokens] = running[tokens] + (waiting if state.looks_again()[0] and place else 0)
        waiting = _waiting(state)
        after = np.minimum(tokens + 1, total - 1)  # past its document's end nothing is read any more
        state = state.observe(log_probs[tokens], None if distances is None else distances[after])
    return DocumentWeights(weights, running, passes)


def _waiting(state: WeightState) -> IntArray:
    """(B,) experts of each text that are dropped but will be looked at again."""
    counts: IntArray = (state.dropped & ~np.isneginf(state.log_prior)).sum(axis=1)
    return counts


class RequestRouter:
    """The weights of one request. See ``requests.Weigher``."""

    def __init__(
        self,
        source: ContextSource,
        settings: WeightingSettings,
        lang: str | None,
        text: str = "",
        tokens: Sequence[int] = (),
        prompt: FloatArray | None = None,
        prior: FloatArray | Sequence[float] | None = None,
    ) -> None:
        """text, tokens: the request's so far; prompt: (T, k) scores of its tokens, where the rule needs scores.

        Raises ConfigError (see ``start_weights``), AllocationError for a language that no expert owns.
        """
        needs = rule_of(settings).needs
        self._context = source.context(lang) if needs.distances else None
        if self._context is not None:
            self._context.extend(text, tokens)
        self._state = start_weights(settings, len(source.experts), 1, prior, self._distances())
        for row in prompt if prompt is not None and needs.scores else ():
            self._state = self._state.observe(row[None], self._distances())

    @property
    def needs_scores(self) -> bool:
        """Whether weights depend on how probable the experts held the tokens so far."""
        return self._state.needs.scores

    def weights(self) -> FloatArray:
        """(k,) weights of the next token, given all text so far."""
        row: FloatArray = self._state.weights()[0]
        return row

    def running(self) -> NDArray[np.bool_]:
        """(k,) experts that must run for the next token."""
        row: NDArray[np.bool_] = self._state.running()[0]
        return row

    def may_run(self) -> NDArray[np.bool_]:
        """(k,) experts that must run for the next token or may have to for a later one."""
        row: NDArray[np.bool_] = self._state.may_run()[0]
        return row

    def missed(self) -> IntArray:
        """(k,) newest tokens that each expert must score before the next token; 0 while it is not time for it."""
        row: IntArray = self._state.behind[0] * self._state.due()[0]
        return row

    def catch_up(self, expert: int, log_probs: FloatArray) -> None:
        """An expert has scored the tokens that it ``missed``."""
        self._state = self._state.catch_up(0, expert, log_probs)

    def observe(self, text: str, token: int, log_probs: FloatArray) -> None:
        """The text grew by a token, which adds ``text``. log_probs: (k,) under each expert, NaN where not run."""
        if self._context is not None:
            self._context.extend(text, [token])
        self._state = self._state.observe(log_probs[None], self._distances())

    def _distances(self) -> FloatArray | None:
        return None if self._context is None else self._context.distances()[None]


class Alone:
    """The weigher of a single model."""

    needs_scores = False

    def weights(self) -> FloatArray:
        """All of it."""
        return np.ones(1)

    def running(self) -> NDArray[np.bool_]:
        """It always runs."""
        return np.ones(1, dtype=np.bool_)

    may_run = running

    def missed(self) -> IntArray:
        """Nothing."""
        return np.zeros(1, dtype=np.int64)

    def catch_up(self, expert: int, log_probs: FloatArray) -> None:
        """Never asked for."""

    def observe(self, text: str, token: int, log_probs: FloatArray) -> None:
        """Nothing changes."""
