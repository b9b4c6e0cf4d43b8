from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from app.allocation.balance import auction, balanced_kmeans, equal_capacities, first_centres, squared_distances
from app.core.records import FloatArray, IntArray


def optimum(costs: FloatArray, capacities: IntArray) -> float:
    """Least total cost, by scipy, with one column for each place of a part."""
    places = np.repeat(costs, capacities, axis=1)
    rows, columns = linear_sum_assignment(places)
    return float(places[rows, columns].sum())


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 2), (37, 3), (64, 8), (101, 7), (200, 16)])
@pytest.mark.parametrize("seed", range(3))
def test_auction_reaches_scipys_optimum(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.uniform(size=(n, k)) + rng.uniform(size=k)
    capacities = equal_capacities(n, k)
    found = auction(costs, capacities, epsilon=1e-5)
    assert np.bincount(found.labels, minlength=k).tolist() == capacities.tolist()
    total = costs[np.arange(n), found.labels].sum()
    assert optimum(costs, capacities) - 1e-9 <= total <= optimum(costs, capacities) + n * 1e-5


def test_auction_serves_unequal_parts_and_a_warm_start() -> None:
    costs = np.random.default_rng(1).uniform(size=(50, 3))
    capacities = np.array([5, 40, 5])
    cold = auction(costs, capacities, 1e-6)
    warm = auction(costs, capacities, 1e-6, start=cold.prices)
    for found in (cold, warm):
        assert np.bincount(found.labels).tolist() == [5, 40, 5]
        total = costs[np.arange(50), found.labels].sum()
        assert total == pytest.approx(optimum(costs, capacities), abs=50e-6)


def test_equal_rows_are_shared_out() -> None:
    found = auction(np.tile([0.0, 1.0, 5.0], (30, 1)), equal_capacities(30, 3), 1e-3)
    assert np.bincount(found.labels).tolist() == [10, 10, 10]


def test_prices_reproduce_the_labels_row_by_row() -> None:
    costs = np.random.default_rng(2).uniform(size=(300, 6)) * np.array([1, 1, 1, 2, 3, 4])
    found = auction(costs, equal_capacities(300, 6), 1e-6)
    charged = costs + found.prices
    assert (charged[np.arange(300), found.labels] <= charged.min(axis=1) + 1e-5).all()
    assert np.mean(charged.argmin(axis=1) == found.labels) > 0.97


def test_capacities_add_up_and_differ_by_at_most_one() -> None:
    assert equal_capacities(11, 4).tolist() == [3, 3, 3, 2]


def test_squared_distances_do_not_depend_on_the_other_rows() -> None:
    rng = np.random.default_rng(4)
    rows, centres = rng.normal(size=(50, 37)), rng.normal(size=(5, 37))
    whole = squared_distances(rows, centres)
    assert whole == pytest.approx(((rows[:, None] - centres) ** 2).sum(axis=2), rel=1e-12)
    for row in range(50):
        assert np.array_equal(squared_distances(rows[row : row + 1], centres)[0], whole[row])


def test_kmeans_finds_blobs_of_equal_size() -> None:
    rng = np.random.default_rng(6)
    blobs = np.eye(4)[np.repeat(np.arange(4), 25)] * 5 + rng.normal(size=(100, 4)) * 0.1
    found = balanced_kmeans(blobs, 4, seed=0)
    means = blobs.reshape(4, 25, 4).mean(axis=1)
    order = found.argmax(axis=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3] and found == pytest.approx(means[order])


def test_kmeans_balances_parts_that_are_not_and_is_a_function_of_the_seed() -> None:
    rng = np.random.default_rng(7)
    rows = np.concatenate([rng.normal(size=(90, 3)), rng.normal(size=(10, 3)) + 8])
    found, again = balanced_kmeans(rows, 2, seed=3), balanced_kmeans(rows, 2, seed=3)
    labels = auction(squared_distances(rows, found), equal_capacities(100, 2)).labels
    assert np.bincount(labels).tolist() == [50, 50]
    assert found == pytest.approx(np.stack([rows[labels == part].mean(axis=0) for part in range(2)]), abs=0.05)
    assert np.array_equal(found, again)


def test_kmeans_of_identical_rows_ends() -> None:
    assert balanced_kmeans(np.ones((12, 3)), 4, seed=0).tolist() == [[1.0] * 3] * 4


def test_first_centres_are_different_rows_for_as_long_as_there_are_some() -> None:
    rows = np.repeat(np.eye(5), 20, axis=0)
    assert sorted(first_centres(rows, 5, seed=1).argmax(axis=1).tolist()) == [0, 1, 2, 3, 4]
    assert not np.array_equal(first_centres(rows, 2, 1, 0), first_centres(rows, 2, 1, 3))
