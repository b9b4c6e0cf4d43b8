from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from app.allocation.equal_groups import equal_groups, exchanged, require_k, within
from app.core.errors import AllocationError
from app.core.records import FloatArray

# a and b are closest (1); of the rest c is at most 4 from them, d at most 6, e at most 9
BY_HAND = np.array(
    [
        [0.0, 1.0, 4.0, 2.0, 9.0],
        [1.0, 0.0, 3.0, 6.0, 5.0],
        [4.0, 3.0, 0.0, 8.0, 7.0],
        [2.0, 6.0, 8.0, 0.0, 2.5],
        [9.0, 5.0, 7.0, 2.5, 0.0],
    ]
)


def some_distances(n: int, seed: int) -> FloatArray:
    drawn = np.random.default_rng(seed).random((n, n))
    distances: FloatArray = drawn + drawn.T
    np.fill_diagonal(distances, 0.0)
    return distances


def test_a_group_takes_the_row_whose_largest_distance_is_least() -> None:
    assert equal_groups(BY_HAND, "abcde", 2) == [[0, 1, 2], [3, 4]], "single link would take d, which is 2 from a"


def test_a_number_that_k_does_not_divide_leaves_larger_groups_first_and_loses_none() -> None:
    for n, k in itertools.product(range(1, 8), range(1, 8)):
        if k <= n:
            groups = equal_groups(some_distances(n, n * k), "abcdefg"[:n], k)
            sizes = [len(group) for group in groups]
            assert sorted(itertools.chain(*groups)) == list(range(n)), (n, k)
            assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1, (n, k)


def test_equal_distances_are_decided_by_name_whatever_the_order() -> None:
    flat = np.ones((4, 4)) - np.eye(4)
    assert equal_groups(flat, "abcd", 2) == [[0, 1], [2, 3]]
    assert equal_groups(flat, "dcba", 2) == [[3, 2], [1, 0]]


def test_within_is_the_sum_over_pairs_of_a_group() -> None:
    assert within(BY_HAND, [[0, 1, 2], [3, 4]]) == pytest.approx(1 + 4 + 3 + 2.5)


def pairings(rows: list[int]) -> Iterator[list[list[int]]]:
    if not rows:
        yield []
        return
    for other in rows[1:]:
        left = [row for row in rows[1:] if row != other]
        yield from ([[rows[0], other], *rest] for rest in pairings(left))


@pytest.mark.parametrize("seed", range(5))
def test_exchanges_end_where_no_exchange_helps_and_near_the_best_of_all_pairings(seed: int) -> None:
    distances = some_distances(8, seed)
    start = equal_groups(distances, "abcdefgh", 4)
    found = exchanged(distances, start)
    assert within(distances, found) <= within(distances, start)
    for (p, one), (q, other) in itertools.combinations(enumerate(found), 2):
        for i, j in itertools.product(one, other):
            tried = [list(group) for group in found]
            tried[p][one.index(i)], tried[q][other.index(j)] = j, i
            assert within(distances, tried) >= within(distances, found) - 1e-9
    best = min(within(distances, pairing) for pairing in pairings(list(range(8))))
    assert within(distances, found) <= best * 1.25


def test_k_beyond_the_languages_is_refused_with_the_range() -> None:
    with pytest.raises(AllocationError, match=r"allocation.k is 4 but there are 3 .* from 1 to 3"):
        require_k(4, ("de", "en", "fr"))


def test_what_stands_on_the_diagonal_changes_no_exchange() -> None:
    distances = some_distances(6, 1)
    start = [[0, 1], [2, 3], [4, 5]]
    assert exchanged(distances - 5 * np.eye(6), start) == exchanged(distances, start)
