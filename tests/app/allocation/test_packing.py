from __future__ import annotations

import itertools

import numpy as np
import pytest

from app.allocation.packing import pack, shared_out, spread
from app.core.records import FloatArray, IntArray


def like(rows: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
    sums = np.stack([rows[labels == label].sum(axis=0) for label in range(labels.max() + 1)])
    return np.bincount(labels).astype(np.float64), sums @ sums.T


def groups(seed: int, count: int) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(count), rng.integers(count, size=20 * count)])
    rows = rng.normal(size=(count, 6))[labels] + 0.3 * rng.normal(size=(len(labels), 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return (*like(rows, labels), rows, labels)


def test_spread_is_unequal_size_three_times_less_the_explained_share_of_the_variance() -> None:
    sizes, likeness, rows, labels = groups(0, 5)
    parts = np.array([0, 1, 0, 1, 1])
    of_rows = parts[labels]
    part_sizes = np.bincount(of_rows)
    within = sum(float(((rows[of_rows == p] - rows[of_rows == p].mean(axis=0)) ** 2).sum()) for p in (0, 1))
    expected = 3 * np.mean(part_sizes**2) / np.mean(part_sizes) ** 2 - (1 - within / len(rows))
    assert spread(parts, sizes, likeness, 2) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_move_and_no_exchange_makes_the_parts_better(seed: int, k: int) -> None:
    sizes, likeness, _, _ = groups(seed, 7)
    parts = pack(sizes, likeness, k)
    assert len(set(parts.tolist())) == k
    found = spread(parts, sizes, likeness, k)
    for group, part in itertools.product(range(7), range(k)):
        moved = parts.copy()
        moved[group] = part
        if len(set(moved.tolist())) == k:
            assert spread(moved, sizes, likeness, k) >= found - 1e-8
    for one, other in itertools.combinations(range(7), 2):
        moved = parts.copy()
        moved[[one, other]] = parts[[other, one]]
        assert spread(moved, sizes, likeness, k) >= found - 1e-8


def test_the_best_of_all_packings_is_found_or_nearly() -> None:
    sizes, likeness, _, _ = groups(3, 7)
    every = [np.array(parts) for parts in itertools.product(range(3), repeat=7) if len(set(parts)) == 3]
    best = min(spread(parts, sizes, likeness, 3) for parts in every)
    assert spread(pack(sizes, likeness, 3), sizes, likeness, 3) <= best + 0.05


def test_like_groups_come_together_where_sizes_allow_it() -> None:
    rows = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0], [0.95, 0.05], [0.05, 0.95]]), 10, axis=0)
    sizes, likeness = like(rows, np.repeat(np.arange(4), 10))
    assert pack(sizes, likeness, 2).tolist() == [0, 1, 0, 1]


def test_sizes_count_for_more_than_likeness() -> None:
    """Ten groups of one direction and ten of another, but of sizes 30 and 10: parts are equal, not pure."""
    rows = np.concatenate([np.tile([1.0, 0.0], (30, 1)), np.tile([0.0, 1.0], (10, 1))])
    labels = np.concatenate([np.repeat(np.arange(6), 5), np.repeat([6, 7], 5)])
    sizes, likeness = like(rows, labels)
    assert np.bincount(pack(sizes, likeness, 2), weights=sizes).tolist() == [20.0, 20.0]


def test_parts_are_numbered_by_their_first_group() -> None:
    sizes, likeness, _, _ = groups(2, 7)
    parts = pack(sizes, likeness, 4)
    assert list(dict.fromkeys(parts.tolist())) == [0, 1, 2, 3]


def test_as_many_parts_as_groups_hold_one_each() -> None:
    sizes, likeness, _, _ = groups(1, 4)
    assert pack(sizes, likeness, 4).tolist() == [0, 1, 2, 3]


def test_further_parts_go_to_the_group_whose_parts_are_largest() -> None:
    assert shared_out(np.array([90.0, 30.0]), np.array([9, 9]), 4).tolist() == [3, 1]
    assert shared_out(np.array([90.0, 30.0]), np.array([2, 9]), 4).tolist() == [2, 2]
    assert shared_out(np.array([5.0, 5.0, 5.0]), np.array([1, 1, 1]), 3).tolist() == [1, 1, 1]
