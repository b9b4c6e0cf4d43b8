"""How a corpus was cut: sizes of the parts and where each language went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import IntArray


@dataclass(frozen=True)
class AllocationReport:
    """sizes: (k,) documents per expert; by_language: (languages, k) documents, rows in the order of
    ``languages``.
    """

    languages: tuple[str, ...]
    sizes: IntArray
    by_language: IntArray

    @property
    def max_over_mean(self) -> float:
        """Largest part over the mean part: 1 is perfectly balanced."""
        return float(self.sizes.max() / self.sizes.mean())


def allocation_report(langs: Sequence[str], assigned: IntArray, k: int) -> AllocationReport:
    """Count documents by language and expert. langs: (n,); assigned: (n,) in 0..k-1, n >= 1."""
    languages, rows = np.unique(np.array(langs), return_inverse=True)
    table = np.zeros((len(languages), k), dtype=np.int64)
    # table[rows, assigned] += 1 would count each pair of indices once, however often it occurs.
    np.add.at(table, (rows, assigned), 1)
    return AllocationReport(tuple(languages.tolist()), table.sum(axis=0), table)
