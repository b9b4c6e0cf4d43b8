"""Groups of like documents that a router can tell apart, and the centres of the parts that are made of them.

A document is assigned to the owner of its nearest centre, and a request is weighed by the same distances; so what an
expert holds is what the router sees. Balance comes from which groups are put together, never from a price on
a distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.allocation.balance import first_centres
from app.allocation.packing import pack, shared_out
from app.core.errors import AllocationError
from app.core.records import FloatArray, IntArray

AGREEMENT = 0.9
"""Least share of a group's documents whose beginning is already nearest to the group."""
# Small clusters are merged but never cut: so many that none should span two groups, and none so small that it is
# chance.
_CENTRES = 64
_CENTRES_PER_EXPERT = 4
_DOCUMENTS_PER_CENTRE = 10
_SMALLEST = 8
_MAX_ROUNDS = 100
_SAME_DIGITS = 9
"""Digits in which the vectors of copies agree, whatever their order of addition."""


@dataclass(frozen=True)
class Centres:
    """centres: (c, d); owners: (c,) expert of each, every expert at least once."""

    centres: FloatArray
    owners: IntArray


def grouped_centres(rows: FloatArray, beginnings: FloatArray, k: int, seed: int) -> Centres:
    """Centres of k parts made of whole groups of like documents, of sizes as equal as whole groups allow.

    rows: (n, d) unit vectors of documents; beginnings: (n, d) of their first tokens, zero where nothing is known yet.
    Many small clusters are merged until the beginnings of documents find their own group again; the groups are packed
    into k parts, and each leaves one centre. Where there are fewer groups than experts, the larger ones are divided
    among several. Raises AllocationError if fewer than k documents are different.
    """
    small = _small_clusters(rows, k, seed)
    labels = nearest(rows, small)
    known = beginnings.any(axis=1)
    # (c, c): documents of the row's cluster by the cluster that is nearest to their beginning.
    confused = np.zeros((len(small), len(small)))
    np.add.at(confused, (labels[known], nearest(beginnings[known], small)), 1)
    group = told_apart(confused, AGREEMENT)
    if group.max() + 1 < k:
        return _divided(rows, small, labels, group, k)
    # Sizes are counted anew by the one centre of each group: that is how documents will be assigned.
    centres = _means(rows, _of_weight(group[labels], k))
    sizes, likeness = _described(rows, nearest(rows, centres), len(centres))
    return Centres(centres, pack(sizes, likeness, k))


def told_apart(confused: FloatArray, agreement: float) -> IntArray:
    """(c,) group of each cluster, numbered from 0: the finest merging in which every group finds itself again.

    confused: (c, c) how many documents of one cluster have a beginning nearest to another. While a group has less than
    ``agreement`` of its row on its diagonal, the two groups are merged of which the smaller has most mistaken for each
    other.
    """
    members = [[cluster] for cluster in range(len(confused))]
    table = confused.copy()
    while len(members) > 1:
        # A cluster none of whose beginnings is known has a row of zeros: it counts as found, and is never divided by.
        sizes = np.maximum(table.sum(axis=1), 1.0)
        if (np.diag(table) >= agreement * table.sum(axis=1)).all():
            break
        mistaken = (table + table.T) / np.minimum(sizes[:, None], sizes)
        np.fill_diagonal(mistaken, -1.0)
        # The larger index is taken out, so the smaller one still points to its group.
        first, second = sorted(divmod(int(mistaken.argmax()), len(members)))
        members[first] += members.pop(second)
        table[first] += table[second]
        table[:, first] += table[:, second]
        table = np.delete(np.delete(table, second, axis=0), second, axis=1)
    group = np.empty(len(confused), dtype=np.int64)
    for number, clusters in enumerate(members):
        group[clusters] = number
    return group


def require_different(rows: FloatArray, k: int) -> FloatArray:
    """The rows without copies. Raises AllocationError if they are fewer than k."""
    different: FloatArray = np.unique(rows.round(_SAME_DIGITS), axis=0)
    if len(different) < k:
        raise AllocationError(
            f"allocation.k is {k}, but of {len(rows)} sampled documents with terms only {len(different)} are different;"
            " lower allocation.k, or look for copies in the corpus (corpus.near_duplicates=minhash)"
        )
    return different


def nearest(rows: FloatArray, centres: FloatArray) -> IntArray:
    """(n,) nearest centre of each row; by one matrix product, so for fitting only."""
    found: IntArray = (np.square(centres).sum(axis=1) - 2.0 * (rows @ centres.T)).argmin(axis=1)
    return found


def _small_clusters(rows: FloatArray, k: int, seed: int) -> FloatArray:
    """Centres of plain k-means, each nearest to at least one row."""
    different = require_different(rows, k)
    most = max(_CENTRES, _CENTRES_PER_EXPERT * k)
    # Begun from rows without copies: of two equal centres the second would be nearest to nothing.
    centres = first_centres(different, min(most, max(k, len(different) // _DOCUMENTS_PER_CENTRE)), seed)
    labels = nearest(rows, centres)
    for _ in range(_MAX_ROUNDS):
        centres = _means(rows, labels)
        before, labels = labels, nearest(rows, centres)
        if np.array_equal(labels, before):
            break
    return centres


def _of_weight(labels: IntArray, k: int) -> IntArray:
    """(n,) the labels, or -1 for groups of less than an eighth of the mean part: chance
    clusters of a few odd documents, which go to the nearest other group. At least k groups stay.
    """
    sizes = np.bincount(labels)
    least = min(len(labels) / (_SMALLEST * k), float(np.sort(sizes)[-k]))
    return np.where(sizes[labels] >= least, labels, -1)


def _divided(rows: FloatArray, small: FloatArray, labels: IntArray, group: IntArray, k: int) -> Centres:
    """Each group shared by as many experts as its size asks for; its small clusters are packed into their parts."""
    # A group is shared by several experts here, so its small clusters stay the centres.
    sizes, likeness = _described(rows, labels, len(small))
    by_group = np.bincount(group, weights=sizes).astype(np.float64)
    experts = shared_out(by_group, np.bincount(group), k)
    owners = np.empty(len(small), dtype=np.int64)
    taken = 0
    for number, count in enumerate(experts.tolist()):
        inside = np.flatnonzero(group == number)
        owners[inside] = taken + pack(sizes[inside], likeness[np.ix_(inside, inside)], count)
        taken += count
    return Centres(small, owners)


def _described(rows: FloatArray, labels: IntArray, count: int) -> tuple[FloatArray, FloatArray]:
    """(count,) rows of each label, and (count, count) inner products of the sums of their rows."""
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, labels, rows)
    return np.bincount(labels, minlength=count).astype(np.float64), sums @ sums.T


def _means(rows: FloatArray, labels: IntArray) -> FloatArray:
    """Mean row of each label from 0 that occurs, in the order of the labels."""
    return np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels[labels >= 0])])
