"""The distribution over languages that training draws from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from app.core.errors import CorpusError

Mixture = Literal["uniform", "proportional", "temperature", "unimax"]


def language_weights(
    kind: Mixture,
    tokens: Mapping[str, int],
    temperature: float,
    max_epochs: float,
    budget_tokens: int,
    quality: Mapping[str, float],
) -> dict[str, float]:
    """Share of each language in the order of ``tokens``; sums to 1.

    tokens: training tokens per language, positive. ``temperature``: share proportional to tokens ** temperature
    (arXiv 1911.02116 writes it as alpha). ``unimax`` (arXiv 2304.09151): equal shares of the budget, but no language
    more than ``max_epochs`` times; what small ones cannot take is divided among the others.
    ``quality``: factors on the shares of some languages, before they are made to sum to 1 (with ``unimax`` a factor
    above 1 may so go beyond ``max_epochs``). Raises CorpusError if a language has no tokens, or one of ``quality`` no
    text.
    """
    empty = sorted(lang for lang, count in tokens.items() if count <= 0)
    if empty or not tokens:
        raise CorpusError(f"no training text for {', '.join(empty) or 'any language'}; take it out of corpus.languages")
    if unknown := sorted(quality.keys() - tokens.keys()):
        raise CorpusError(
            f"corpus.quality_weights names {', '.join(unknown)}, but the corpus has only {', '.join(tokens)}"
        )
    match kind:
        case "uniform":
            raw = dict.fromkeys(tokens, 1.0)
        case "proportional":
            raw = {lang: float(count) for lang, count in tokens.items()}
        case "temperature":
            raw = {lang: float(count) ** temperature for lang, count in tokens.items()}
        case "unimax":
            raw = _unimax(tokens, max_epochs, budget_tokens)
    raw = {lang: share * quality.get(lang, 1.0) for lang, share in raw.items()}
    total = sum(raw.values())
    return {lang: raw[lang] / total for lang in tokens}


def _unimax(tokens: Mapping[str, int], max_epochs: float, budget_tokens: int) -> dict[str, float]:
    left = float(budget_tokens)
    given: dict[str, float] = {}
    # The smallest first: what it cannot take is divided among those still to come.
    ascending = sorted(tokens, key=lambda lang: (tokens[lang], lang))
    for done, lang in enumerate(ascending):
        given[lang] = min(left / (len(ascending) - done), tokens[lang] * max_epochs)
        left -= given[lang]
    return given
