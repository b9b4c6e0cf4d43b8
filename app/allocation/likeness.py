"""How alike two cuts of one corpus are, and whether nearness of languages predicts what they gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray, IntArray

_DECIMALS = 12


@dataclass(frozen=True)
class Likeness:
    """rand: adjusted Rand index, 1 for equal cuts, 0 for what chance gives; information: normalised mutual information,
    1 for equal cuts. Both are blind to the experts' order.
    """

    rand: float
    information: float


def likeness(table: IntArray) -> Likeness:
    """Of two cuts of the same things. table: (k of the one, k of the other) things that each pair of experts shares.

    Adjusted Rand index of Hubert and Arabie (1985); mutual information over the mean of the two entropies. Two cuts
    that cut nothing are equal.
    """
    # From the table and not from labels, as libraries have it: a table is added up part by part, labels are not.
    both, one, other = (_pairs(sizes) for sizes in (table, table.sum(axis=1), table.sum(axis=0)))
    chance = one * other / max(1, _pairs(table.sum()))
    most = (one + other) / 2
    entropies = [_entropy(sizes) for sizes in (table.sum(axis=1), table.sum(axis=0), table.ravel())]
    mean = (entropies[0] + entropies[1]) / 2
    return Likeness(
        1.0 if most == chance else (both - chance) / (most - chance),
        1.0 if mean == 0 else max(0.0, entropies[0] + entropies[1] - entropies[2]) / mean,
    )


def _pairs(sizes: IntArray) -> int:
    # Python's integers: pairs of ten billion documents outgrow 64 bits, and products of them far sooner.
    return sum(size * (size - 1) // 2 for size in sizes.ravel().tolist())


def _entropy(sizes: IntArray) -> float:
    """In nats, of things drawn at random."""
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def balance(sizes: IntArray) -> float:
    """Largest part over the mean one, 1 where all are equal. sizes: (k,) things of each expert."""
    return float(sizes.max() / sizes.mean())


@dataclass(frozen=True)
class RankCorrelation:
    """correlation: Spearman's, NaN where nothing varies; cases: pairs of figures that it rests on."""

    correlation: float
    cases: int


def gain_by_nearness(
    distances: FloatArray,
    languages: Sequence[str],
    cuts: Sequence[tuple[Sequence[Sequence[str]], Mapping[str, float]]],
) -> RankCorrelation:
    """Rank correlation of a language's mean distance to those that share its expert with its change of log-perplexity.

    distances: (n, n) of ``languages``. cuts: languages of each expert, and each language's log ratio to dense. Each
    language's mean over the cuts is taken from both figures first: some gain more than others however they are
    grouped. So positive means that nearer company goes with a larger gain. A language that is alone has no company and
    is left out of that cut.
    """
    place = {lang: row for row, lang in enumerate(languages)}
    found: dict[str, list[tuple[float, float]]] = {}
    for clusters, changes in cuts:
        for cluster in clusters:
            known = [lang for lang in cluster if lang in place]
            for lang in known:
                company = [float(distances[place[lang], place[other]]) for other in known if other != lang]
                if company and lang in changes:
                    found.setdefault(lang, []).append((float(np.mean(company)), changes[lang]))
    return correlated(found)


def correlated(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> RankCorrelation:
    """Spearman's correlation of the first figure with the second over all groups, each group's means taken away first.

    A group of one pair says nothing and is left out.
    """
    from scipy.stats import spearmanr

    cases = [np.array(rows) - np.mean(rows, axis=0) for rows in pairs.values() if len(rows) > 1]
    if not cases:
        return RankCorrelation(float("nan"), 0)
    table = np.round(np.concatenate(cases), _DECIMALS)  # equal ranks stay equal
    if np.ptp(table[:, 0]) == 0 or np.ptp(table[:, 1]) == 0:
        return RankCorrelation(float("nan"), len(table))
    return RankCorrelation(float(spearmanr(table[:, 0], table[:, 1]).statistic), len(table))
