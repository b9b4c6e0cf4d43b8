"""How alike two cuts of one corpus are, and whether nearness of languages foretells what they gain."""

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


def likeness(one: IntArray, other: IntArray) -> Likeness:
    """Of two cuts of the same n things. one, other: (n,) expert of each."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # slow to import

    return Likeness(float(adjusted_rand_score(one, other)), float(normalized_mutual_info_score(one, other)))


def balance(labels: IntArray) -> float:
    """Largest part over the mean one, 1 where all are equal. labels: (n,) expert of each thing."""
    sizes = np.bincount(labels)
    return float(sizes.max() / sizes.mean())


@dataclass(frozen=True)
class Foretold:
    """correlation: Spearman's, NaN where nothing varies; cases: pairs of figures that it rests on."""

    correlation: float
    cases: int


def foretold(
    distances: FloatArray,
    languages: Sequence[str],
    cuts: Sequence[tuple[Sequence[Sequence[str]], Mapping[str, float]]],
) -> Foretold:
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


def correlated(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> Foretold:
    """Spearman's correlation of the first figure with the second over all groups, each group's means taken away first.

    A group of one pair says nothing and is left out.
    """
    from scipy.stats import spearmanr

    cases = [np.array(rows) - np.mean(rows, axis=0) for rows in pairs.values() if len(rows) > 1]
    if not cases:
        return Foretold(float("nan"), 0)
    table = np.round(np.concatenate(cases), _DECIMALS)  # equal ranks stay equal
    if np.ptp(table[:, 0]) == 0 or np.ptp(table[:, 1]) == 0:
        return Foretold(float("nan"), len(table))
    return Foretold(float(spearmanr(table[:, 0], table[:, 1]).statistic), len(table))
