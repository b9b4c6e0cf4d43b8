"""How each expert does on languages that it never saw, by how near they are to those that it did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.allocation.likeness import RankCorrelation, correlated

Figures = Mapping[str, float]
"""``perplexity``, ``bits_per_byte`` and ``exposure_tokens`` of one system in one language."""


@dataclass(frozen=True)
class Unseen:
    """One expert on one language of which it saw no token after the seed.

    nearest: the language that it saw which is nearest by typology, at ``distance``. log_ratio: log of its perplexity
    over the seed's, below 0 where training on the others helped; bits: its bits per byte, seed_bits the seed's.
    """

    expert: str
    lang: str
    nearest: str
    distance: float
    log_ratio: float
    bits: float
    seed_bits: float


def unseen_rows(
    table: Mapping[str, Mapping[str, Figures]],
    experts: Sequence[str],
    distances: Mapping[str, Mapping[str, float]],
    seed: str = "seed",
) -> list[Unseen]:
    """A row for each language with known distances and each expert that saw some such language, but not this one.

    table: language -> system -> figures. distances: language -> language -> distance, the same for both orders. By
    language, then from the nearest expert to the farthest.
    """
    described = [lang for lang in table if lang in distances]
    seen = {
        expert: [lang for lang in described if table[lang].get(expert, {}).get("exposure_tokens", 0) > 0]
        for expert in experts
    }
    rows = []
    for lang in described:
        own = table[lang]
        for expert, langs in seen.items():
            if not langs or lang in langs or expert not in own:
                continue
            # Of equal distances the code decides, so that the table is the same in every run.
            distance, nearest = min((distances[lang][other], other) for other in langs)
            change = math.log(own[expert]["perplexity"] / own[seed]["perplexity"])
            bits = own[expert]["bits_per_byte"], own[seed]["bits_per_byte"]
            rows.append(Unseen(expert, lang, nearest, distance, change, *bits))
    return sorted(rows, key=lambda row: (row.lang, row.distance, row.expert))


@dataclass(frozen=True)
class Nearness:
    """Whether nearer experts do better on languages that they never saw.

    correlated: distance with log ratio, each language's own means taken away: positive means that nearer experts do
    better. nearest_wins: of the ``languages`` with such experts at different distances, those where the nearest has a
    lower perplexity than the farthest. nearest, farthest: mean log ratio to the seed of the two.
    """

    correlated: RankCorrelation
    languages: int
    nearest_wins: int
    nearest: float
    farthest: float


def nearness(rows: Sequence[Unseen]) -> Nearness:
    """Over the rows of ``unseen_rows``; the figures are NaN where no language can say anything."""
    by_language: dict[str, list[Unseen]] = {}
    for row in rows:
        by_language.setdefault(row.lang, []).append(row)
    ends = [
        (min(found, key=lambda row: row.distance), max(found, key=lambda row: row.distance))
        for found in by_language.values()
        if len({row.distance for row in found}) > 1
    ]
    pairs = {lang: [(row.distance, row.log_ratio) for row in found] for lang, found in by_language.items()}
    return Nearness(
        correlated(pairs),
        len(ends),
        sum(near.log_ratio < far.log_ratio for near, far in ends),
        _mean([near.log_ratio for near, _ in ends]),
        _mean([far.log_ratio for _, far in ends]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
