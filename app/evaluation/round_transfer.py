"""What rounds of new languages (HMR) carry over: to the new language, to its donor, to its relatives and to others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.allocation.likeness import RankCorrelation, correlated

_RELATIVES = 4
"""Of the languages that an expert was not trained on, as many count as its nearest ones."""

Alone = Mapping[str, Mapping[str, float]]
"""Language -> model -> perplexity."""


@dataclass(frozen=True)
class Added:
    """An expert that a round added: what it branched from, and the new languages and the donor it was trained on."""

    expert: str
    languages: tuple[str, ...]
    donor: str
    parent: str
    round: int


@dataclass(frozen=True)
class Transfer:
    """Mean log ratios of perplexity, below 0 where it fell; NaN of no language.

    before: the parent to the seed in the new languages: what it knew of them already. own, donor, relatives, others:
    the expert to its parent in the new languages, the donor, and of the rest the nearest and the other ones.
    """

    added: Added
    before: float
    own: float
    donor: float
    relatives: float
    others: float
    related: tuple[str, ...]


def transfers(
    added: Sequence[Added], alone: Alone, distances: Mapping[str, Mapping[str, float]], seed: str = "seed"
) -> tuple[list[Transfer], RankCorrelation]:
    """Of each added expert, and the correlation over all of distance with the log ratio in languages that it was not
    trained on, each expert's own means taken away: positive where nearer languages gain more, or lose less.

    alone: of every language and model. distances: of languages with known features; others count with ``others``.
    """
    found, pairs = [], {}
    for one in added:
        # Later rounds know languages that earlier experts were not scored in.
        scored = {lang: row for lang, row in alone.items() if {one.expert, one.parent} <= set(row)}
        ratios = {lang: math.log(row[one.expert] / row[one.parent]) for lang, row in scored.items()}
        rest = [lang for lang in ratios if lang not in (*one.languages, one.donor)]
        near = {lang: _distance(lang, one.languages, distances) for lang in rest}
        known = sorted((distance, lang) for lang, distance in near.items() if distance is not None)
        related = tuple(lang for _, lang in known[:_RELATIVES])
        own = [lang for lang in one.languages if lang in ratios]
        before = [math.log(alone[lang][one.parent] / alone[lang][seed]) for lang in own]
        found.append(
            Transfer(
                one,
                _mean(before),
                _mean([ratios[lang] for lang in own]),
                ratios.get(one.donor, math.nan),
                _mean([ratios[lang] for lang in related]),
                _mean([ratios[lang] for lang in rest if lang not in related]),
                related,
            )
        )
        # A group for each expert: how much a whole round forgets must not pass for an effect of distance.
        pairs[one.expert] = [(distance, ratios[lang]) for distance, lang in known]
    return found, correlated(pairs)


def _distance(lang: str, languages: Sequence[str], distances: Mapping[str, Mapping[str, float]]) -> float | None:
    """To the nearest of some languages; None where none is known."""
    known = [distances[lang][other] for other in languages if lang in distances and other in distances[lang]]
    return min(known, default=None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
