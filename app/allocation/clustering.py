"""Agglomeration of a distance matrix to k clusters: the paper's pairing, and average link.

Both return the merges, and the clusters of row indices that hold every row exactly once, in the order in
which they were merged; those never merged follow in the order of their rows. Equal distances are decided
by name, so that which rows share a cluster does not depend on their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray

Cluster = tuple[int, ...]
# Means of equal distances differ in their last digits by the order of addition; rounded, their names decide.
_DECIMALS = 12


@dataclass(frozen=True)
class Merge:
    """Two clusters that became one, and the distance at which they did."""

    left: Cluster
    right: Cluster
    distance: float


@dataclass(frozen=True)
class Agglomeration:
    """The k clusters and the n - k merges that led to them, first merge first.

    The merges for a smaller k begin with those for a larger one, so those for k = 1 are the whole tree.
    """

    clusters: list[Cluster]
    merges: list[Merge]


def pair_clusters(distances: FloatArray, names: Sequence[str], k: int) -> Agglomeration:
    """The paper's pairing: per level take the closest pair of clusters, drop every pair touching it, repeat.

    distances: (n, n), 1 <= k <= n. The distance of two clusters is the smallest over member pairs. Within a
    level pairing stops once k clusters remain, and a cluster left over goes up unpaired, after the paired
    ones: unlike the published code, any k is served and no row is lost. Source: arXiv 2401.10440, typological
    clustering.
    """
    clusters: list[Cluster] = [(row,) for row in range(len(names))]
    merges: list[Merge] = []
    while len(clusters) > k:
        # Cut to what is missing to k: a whole level would halve the number of clusters.
        pairs = _closest_disjoint_pairs(distances, names, clusters)[: len(clusters) - k]
        merges += [Merge(clusters[i], clusters[j], distance) for i, j, distance in pairs]
        paired = [clusters[i] + clusters[j] for i, j, _ in pairs]
        touched = {index for i, j, _ in pairs for index in (i, j)}
        clusters = paired + [cluster for index, cluster in enumerate(clusters) if index not in touched]
    return Agglomeration(clusters, merges)


def average_link(distances: FloatArray, names: Sequence[str], k: int) -> Agglomeration:
    """Average-link agglomeration (UPGMA): merge the two clusters of least mean member distance until k
    remain.
    """
    merged: list[Cluster] = []
    single: list[Cluster] = [(row,) for row in range(len(names))]
    merges: list[Merge] = []
    while len(merged) + len(single) > k:
        clusters = merged + single
        # Computed anew for every merge: rows are languages, so there are few.
        between = _cluster_distances(distances, clusters, np.mean)
        i, j = _sorted_pairs(between, names, clusters)[0]
        merges.append(Merge(clusters[i], clusters[j], between[i, j]))
        gone = {clusters[i], clusters[j]}
        merged = [cluster for cluster in merged if cluster not in gone] + [clusters[i] + clusters[j]]
        single = [cluster for cluster in single if cluster not in gone]
    return Agglomeration(merged + single, merges)


def _closest_disjoint_pairs(
    distances: FloatArray, names: Sequence[str], clusters: Sequence[Cluster]
) -> list[tuple[int, int, float]]:
    pairs: list[tuple[int, int, float]] = []
    taken: set[int] = set()
    between = _cluster_distances(distances, clusters, np.min)
    for i, j in _sorted_pairs(between, names, clusters):
        if i not in taken and j not in taken:
            pairs.append((i, j, between[i, j]))
            taken |= {i, j}
    return pairs


def _cluster_distances(
    distances: FloatArray, clusters: Sequence[Cluster], link: Callable[[FloatArray], np.float64]
) -> dict[tuple[int, int], float]:
    return {
        (i, j): round(float(link(distances[np.ix_(clusters[i], clusters[j])])), _DECIMALS)
        for i in range(len(clusters))
        for j in range(i + 1, len(clusters))
    }


def _sorted_pairs(
    between: Mapping[tuple[int, int], float], names: Sequence[str], clusters: Sequence[Cluster]
) -> list[tuple[int, int]]:
    """Pairs of clusters by distance, equal ones by the first name of each."""
    first = [min(names[row] for row in cluster) for cluster in clusters]
    return sorted(between, key=lambda pair: (between[pair], sorted((first[pair[0]], first[pair[1]]))))
