"""Groups of equal size from a matrix of distances: DMoE's greedy complete link, for any number of rows and groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from app.allocation.base import Fallback, expert_names
from app.allocation.by_language import LanguageAllocator
from app.core.errors import AllocationError
from app.core.records import FloatArray

# Rounding alone could let two equal groupings be exchanged for each other without end.
_LEAST_GAIN = 1e-12


def equal_groups(distances: FloatArray, names: Sequence[str], k: int) -> list[list[int]]:
    """k groups of rows whose sizes differ by at most 1, the larger ones first; each row is in one of them.

    distances: (n, n) symmetric, 1 <= k <= n. A group begins with the closest pair that is left; the row whose largest
    distance to the group is least joins, until the group is full. Equal distances are decided by name. The published
    scripts break where n is not divisible by k; here the first n mod k groups have one row more. A group of one takes
    the first name that is left. Source: DMoE (arXiv 2506.12388).
    """
    # min() below takes the first of equals, so this order makes names decide.
    left = sorted(range(len(names)), key=lambda row: names[row])
    sizes = [len(names) // k + (number < len(names) % k) for number in range(k)]
    groups: list[list[int]] = []
    for size in sizes:
        group = _closest_pair(distances, left) if size > 1 else left[:1]
        left = [row for row in left if row not in group]
        while len(group) < size:
            nearest = min(left, key=lambda row: max(distances[row, member] for member in group))
            group.append(nearest)
            left.remove(nearest)
        groups.append(group)
    return groups


def exchanged(distances: FloatArray, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """The groups after exchanges of two rows between two of them, the best first, until none lowers ``within``."""
    distances = np.where(np.eye(len(distances), dtype=bool), 0.0, distances)  # no row is a pair with itself
    labels = np.empty(len(distances), dtype=np.int64)
    for number, group in enumerate(groups):
        labels[list(group)] = number
    rows = np.arange(len(labels))
    while True:
        pull = distances @ np.eye(len(groups))[labels]  # (n, k): sum of distances to the members of each group
        # (n, n): change of row i alone where it takes the place of row j, whose distance to i is then no longer within.
        gain = pull[:, labels] - pull[rows, labels][:, None] - distances
        gain = gain + gain.T
        gain[labels[:, None] == labels] = np.inf
        if gain.min(initial=np.inf) >= -_LEAST_GAIN:
            return [np.flatnonzero(labels == number).tolist() for number in range(len(groups))]
        one, other = divmod(int(gain.argmin()), len(labels))
        labels[[one, other]] = labels[[other, one]]


def within(distances: FloatArray, groups: Sequence[Sequence[int]]) -> float:
    """Sum of the distances of all pairs of rows that share a group."""
    return float(sum(distances[i, j] for group in groups for i, j in itertools.combinations(group, 2)))


def grouped_allocator(
    groups: Sequence[Sequence[int]], names: Sequence[str], k: int, fallback: Fallback
) -> LanguageAllocator:
    """One expert for each group of languages."""
    clusters = tuple(tuple(names[row] for row in group) for group in groups)
    return LanguageAllocator(expert_names(k), clusters, fallback)


def require_k(k: int, names: Sequence[str]) -> None:
    """Raises AllocationError unless every expert can have a language."""
    if not 1 <= k <= len(names):
        raise AllocationError(
            f"allocation.k is {k} but there are {len(names)} languages ({', '.join(names)}); "
            f"choose k from 1 to {len(names)}"
        )


def _closest_pair(distances: FloatArray, left: Sequence[int]) -> list[int]:
    one, other = min(itertools.combinations(left, 2), key=lambda pair: float(distances[pair[0], pair[1]]))
    return [one, other]
