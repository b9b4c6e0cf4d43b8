"""How many typological features a language needs: its nearest neighbour as its features are hidden.

``python -m benchmarks.masked_features``. Of languages of which 70 features or more are known, all but m drawn at random
are hidden in one language at a time; its nearest neighbour by the typological distance is looked up in the order of
neighbours that all its features give. Shown for each m: how often it is the true nearest, one of the three and of the
five nearest, and its median rank (0 is the nearest).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.allocation.distances import typological_distances
from app.allocation.uriel import known_count, syntax_features
from app.core.records import FloatArray
from app.reporting.tables import markdown_table

_CODES = (
    "am ar bg cs cy da de el en es et eu fa fi fr ga ha he hi hu hy id is it ja ka km kn ko lo lt lv mn ms my nl pa pl"
    " ps pt ro ru so sq sv sw ta th tr uk vi yo zh zu"
)
LANGUAGES = tuple(_CODES.split())
_KEPT = (8, 12, 16, 20, 24, 28, 30, 32, 36, 40, 50, 60, 70)
_DRAWS = 40


@dataclass(frozen=True)
class Ranks:
    """Rank of the nearest neighbour found among the true ones, over languages and draws. kept: features left."""

    kept: int
    ranks: Sequence[int]

    def within(self, count: int) -> float:
        """Share of cases in which it is one of the ``count`` nearest."""
        return float(np.mean(np.asarray(self.ranks) < count))


def main() -> int:
    """Measure and print; returns the exit status."""
    features = np.array([syntax_features(lang) for lang in LANGUAGES])
    rows = []
    for kept in _KEPT:
        found = masked_ranks(features, kept, _DRAWS)
        shares = [f"{found.within(count):.0%}" for count in (1, 3, 5)]
        rows.append([str(kept), *shares, f"{np.median(found.ranks):.0f}"])
    least = min(known_count(row) for row in features)
    print(f"{len(LANGUAGES)} languages with at least {least} features, {_DRAWS} draws each")
    print(markdown_table(["features kept", "the nearest", "of the 3 nearest", "of the 5 nearest", "median rank"], rows))
    return 0


def masked_ranks(features: FloatArray, kept: int, draws: int) -> Ranks:
    """features: (n, f), NaN where unknown; languages with fewer than ``kept`` known ones are left out."""
    rng = np.random.default_rng(0)
    order = _neighbours(typological_distances(features))
    ranks: list[int] = []
    for row, known in enumerate(np.flatnonzero(~np.isnan(language)) for language in features):
        for _ in range(draws if len(known) >= kept else 0):
            left = rng.choice(known, kept, replace=False)
            masked = features.copy()
            masked[row] = np.nan
            masked[row, left] = features[row, left]
            nearest = _neighbours(typological_distances(masked))[row][0]
            ranks.append(order[row].index(nearest))
    return Ranks(kept, ranks)


def _neighbours(distances: FloatArray) -> list[list[int]]:
    """For each row the other rows, nearest first."""
    away = distances + np.diag(np.full(len(distances), np.inf))
    return [order[:-1].tolist() for order in away.argsort(axis=1, kind="stable")]


if __name__ == "__main__":
    sys.exit(main())
