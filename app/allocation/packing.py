"""Groups of given sizes into k parts: like groups together, sizes as equal as whole groups allow."""

from __future__ import annotations

import numpy as np

from app.core.records import FloatArray, IntArray

_BALANCE = 3.0
"""Weight of unequal sizes against unlike members. On 16 languages into 8 parts 1 leaves parts of 1.3 times the mean, 3
the 1.13 that whole languages allow, and more only brings unlike languages together."""
# Rounding alone could let two packings follow each other without end.
_LEAST_GAIN = 1e-9


def pack(sizes: FloatArray, likeness: FloatArray, k: int) -> IntArray:
    """(g,) part of each group, parts numbered by the first group they hold; no part is empty.

    sizes: (g,) documents of each group, positive, g >= k; likeness: (g, g) inner products of the sums of their unit
    vectors. The larger groups go first, each into the part that is least full; then single groups are moved, and pairs
    exchanged, for as long as ``spread`` falls.
    """
    parts = np.empty(len(sizes), dtype=np.int64)
    load = np.zeros(k)
    # Stable, and argmin takes the first of equals: the result is one function of the arguments.
    for group in np.argsort(-sizes, kind="stable"):
        parts[group] = load.argmin()
        load[parts[group]] += sizes[group]
    while True:
        moved = _best_change(parts, sizes, likeness, k)
        if moved is None:
            return _in_order(parts)
        parts = moved


def spread(parts: IntArray, sizes: FloatArray, likeness: FloatArray, k: int) -> float:
    """What ``pack`` makes small: 3 times the mean squared size over the squared mean one, less the share of the
    documents' variance that the parts explain.
    """
    held = np.eye(k)[parts]
    part_sizes = held.T @ sizes
    explained = np.einsum("ap,ab,bp->p", held, likeness, held)
    return float(_cost(part_sizes, explained, sizes.sum(), k).sum())


def shared_out(sizes: FloatArray, room: IntArray, k: int) -> IntArray:
    """(g,) number of parts of each group, at least 1 and at most its ``room``; they add up to k.

    Each further part goes to the group whose parts are largest. sizes: (g,), g <= k <= room.sum().
    """
    parts = np.ones(len(sizes), dtype=np.int64)
    for _ in range(k - len(sizes)):
        parts[np.where(parts < room, sizes / parts, -1.0).argmax()] += 1
    return parts


def _cost(part_sizes: FloatArray, explained: FloatArray, total: float, k: int) -> FloatArray:
    # The squared length of a part's sum over its size is what its mean explains of unit vectors.
    cost: FloatArray = _BALANCE * k * np.square(part_sizes / total) - explained / part_sizes / total
    return cost


def _best_change(parts: IntArray, sizes: FloatArray, likeness: FloatArray, k: int) -> IntArray | None:
    """The parts after the one move or exchange that lowers the spread most; None if none does."""
    groups, total = np.arange(len(sizes)), float(sizes.sum())
    held = np.eye(k)[parts]
    pull = likeness @ held  # of each part on each group
    own, within = np.diag(likeness), pull[groups, parts]
    part_sizes, explained = held.T @ sizes, np.array([pull[parts == part, part].sum() for part in range(k)])
    cost = _cost(part_sizes, explained, total, k)

    # A group that is alone leaves a part of size 0; such moves are ruled out below.
    # (g,) cost of its part without the group, (g, k) cost of each part with it.
    with np.errstate(divide="ignore", invalid="ignore"):
        left = _cost(part_sizes[parts] - sizes, explained[parts] - 2 * within + own, total, k)
        joined = _cost(part_sizes + sizes[:, None], explained + 2 * pull + own[:, None], total, k)
    moves = left[:, None] - cost[parts][:, None] + joined - cost
    moves[np.bincount(parts, minlength=k)[parts] == 1] = np.inf  # a part is never emptied
    moves[groups, parts] = np.inf

    # (g, g): the part of the row's group with the column's group in its place; turned over, the other part.
    both = own[:, None] + own - 2 * likeness
    sizes_after = part_sizes[parts][:, None] - sizes[:, None] + sizes
    after = _cost(sizes_after, (explained[parts] - 2 * within)[:, None] + 2 * pull[:, parts].T + both, total, k)
    exchanges = after + after.T - cost[parts][:, None] - cost[parts]
    exchanges[parts[:, None] == parts] = np.inf

    if min(moves.min(), exchanges.min()) >= -_LEAST_GAIN:
        return None
    changed = parts.copy()
    if moves.min() <= exchanges.min():
        group, part = divmod(int(moves.argmin()), k)
        changed[group] = part
    else:
        one, other = divmod(int(exchanges.argmin()), len(sizes))
        changed[[one, other]] = parts[[other, one]]
    return changed


def _in_order(parts: IntArray) -> IntArray:
    _, first, labels = np.unique(parts, return_index=True, return_inverse=True)
    # Parts get names of experts, which must not depend on the order of the search.
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    ordered: IntArray = numbers[labels]
    return ordered
