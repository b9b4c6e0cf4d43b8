"""Weights for real requests and for stored scores: several documents at once, or one context that grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from app.core.errors import ConfigError
from app.core.records import FloatArray, IntArray
from app.ensemble.weights import Signals, WeightingSettings, expert_weights


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


def resolve_weighting(name: str, unit: str) -> str:
    """``auto`` is ``one_hot`` for language-level allocations, ``tfidf`` for others; other names stay."""
    if name != "auto":
        return name
    return "one_hot" if unit == "language" else "tfidf"


def document_weights(
    settings: WeightingSettings,
    distances: FloatArray,
    lengths: Sequence[int] | IntArray,
    log_probs: FloatArray | None,
) -> FloatArray:
    """(N, k) weights of the tokens of several documents laid end to end; nothing crosses a document's border.

    distances: (N, k) of the context before each token; lengths: tokens of each document, adding up to N;
    log_probs: (N, k) or None. Raises ConfigError (see ``expert_weights``).
    """
    bounds = np.cumsum([0, *lengths])
    assert bounds[-1] == len(distances)
    weights = np.empty(distances.shape)
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        seen = None if log_probs is None else log_probs[start:stop]
        weights[start:stop] = expert_weights(Signals(distances[start:stop], seen), settings)
    return weights


class TextRouter:
    """The experts' weights for one request, from its text so far. See ``generation.Weigher``."""

    needs_scores = False

    def __init__(
        self,
        source: ContextSource,
        settings: WeightingSettings,
        lang: str | None,
        text: str = "",
        tokens: Sequence[int] = (),
    ) -> None:
        if settings.name == "posterior":
            raise ConfigError("weighting posterior looks at scores, not at text; take PosteriorRouter")
        self._settings = settings
        self._context = source.context(lang)
        self._context.extend(text, tokens)

    def observe(self, text: str, token: int, log_probs: FloatArray | None = None) -> None:
        """Append text; costs in proportion to it."""
        self._context.extend(text, [token])

    def weights(self) -> FloatArray:
        """(k,) weights of the next token, given all text so far."""
        row: FloatArray = expert_weights(Signals(self._context.distances()[None, :]), self._settings)[0]
        return row


class PosteriorRouter:
    """The running posterior over k experts, from how probable each held the text so far. See ``generation.Weigher``."""

    needs_scores = True

    def __init__(self, settings: WeightingSettings, prompt: FloatArray) -> None:
        """prompt: (T, k) log-probabilities of the prompt's tokens under each expert."""
        self._settings = settings
        self._total = prompt.sum(axis=0)

    def observe(self, text: str, token: int, log_probs: FloatArray | None) -> None:
        """Multiply the scores of one more token in; the text itself is not looked at."""
        assert log_probs is not None
        self._total = self._total + log_probs

    def weights(self) -> FloatArray:
        """(k,) weights of the next token: those that ``posterior`` gives after the tokens so far."""
        k = len(self._total)
        signals = Signals(np.zeros((2, k)), np.stack([self._total, np.zeros(k)]))
        row: FloatArray = expert_weights(signals, self._settings)[1]
        return row
