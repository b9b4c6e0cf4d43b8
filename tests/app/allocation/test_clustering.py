from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from app.allocation.clustering import average_link, pair_clusters


def symmetric(pairs: dict[tuple[int, int], float], n: int) -> NDArray[np.float64]:
    distances = np.full((n, n), 9.0)
    np.fill_diagonal(distances, 0.0)
    for (i, j), value in pairs.items():
        distances[i, j] = distances[j, i] = value
    return distances


def test_pairs_greedily_and_in_order_of_distance() -> None:
    distances = symmetric({(0, 1): 0.3, (1, 2): 0.2, (0, 3): 0.4}, 4)
    assert pair_clusters(distances, "abcd", 2).clusters == [(1, 2), (0, 3)]


def test_an_odd_cluster_goes_up_after_the_paired_ones() -> None:
    distances = symmetric({(1, 2): 0.1, (3, 4): 0.2, (0, 1): 0.3}, 5)
    assert pair_clusters(distances, "abcde", 3).clusters == [(1, 2), (3, 4), (0,)]
    assert pair_clusters(distances, "abcde", 2).clusters == [(1, 2, 0), (3, 4)]


def test_pairing_stops_within_a_level_once_k_remain() -> None:
    distances = symmetric({(0, 1): 0.3, (2, 3): 0.1}, 4)
    assert pair_clusters(distances, "abcd", 3).clusters == [(2, 3), (0,), (1,)]


def test_cluster_distance_is_the_smallest_over_member_pairs() -> None:
    distances = symmetric({(0, 1): 0.1, (2, 3): 0.2, (4, 5): 0.3, (1, 4): 0.4, (0, 2): 0.5}, 6)
    assert pair_clusters(distances, "abcdef", 2).clusters == [(0, 1, 4, 5), (2, 3)]


def test_equal_distances_are_decided_by_name() -> None:
    distances = np.ones((4, 4)) - np.eye(4)
    found = pair_clusters(distances, ["d", "b", "c", "a"], 2).clusters
    assert [set(cluster) for cluster in found] == [{1, 3}, {0, 2}]


@pytest.mark.parametrize("k", range(1, 13))
def test_average_link_equals_scipy(k: int) -> None:
    points = np.random.default_rng(5).normal(size=(12, 4))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    labels = fcluster(linkage(squareform(distances, checks=False), "average"), k, "maxclust")
    expected = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}
    assert {frozenset(cluster) for cluster in average_link(distances, "abcdefghijkl", k).clusters} == expected


@pytest.mark.parametrize("agglomerate", [pair_clusters, average_link])
def test_the_first_merges_of_the_whole_tree_are_those_of_every_cut(agglomerate: Any) -> None:
    points = np.random.default_rng(6).normal(size=(13, 4))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    tree = agglomerate(distances, "abcdefghijklm", 1).merges
    assert len(tree) == 12
    for k in range(1, 14):
        cut = agglomerate(distances, "abcdefghijklm", k)
        assert cut.merges == tree[: 13 - k]
        clusters = {frozenset([row]) for row in range(13)}
        for merge in tree[: 13 - k]:
            clusters -= {frozenset(merge.left), frozenset(merge.right)}
            clusters.add(frozenset(merge.left + merge.right))
        assert clusters == {frozenset(cluster) for cluster in cut.clusters}


def test_a_merge_carries_the_distance_at_which_it_happened() -> None:
    points = np.random.default_rng(5).normal(size=(12, 4))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    expected = linkage(squareform(distances, checks=False), "average")[:, 2]
    found = [merge.distance for merge in average_link(distances, "abcdefghijkl", 1).merges]
    assert np.allclose(found, expected)
    assert [merge.distance for merge in pair_clusters(symmetric({(0, 1): 0.3, (2, 3): 0.1}, 4), "abcd", 1).merges] == [
        *(0.1, 0.3),
        9.0,
    ]
