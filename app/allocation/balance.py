"""Parts of equal size: assignment by auction and balanced k-means; the prices of one round start the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from app.core.records import FloatArray, IntArray
from app.core.seeding import generator

# First least raise of a price, as a share of the range of the costs. Small raises alone would take very many rounds
# from prices of zero; prices of the round before are nearly right.
_COARSE_STEP = 0.05
_WARM_STEP = 0.01
# Coarser than a final assignment: the centres move after each of these.
_KMEANS_EPSILON = 1e-3
_EPSILON = 1e-4
_SHRINK = 5.0
_RESTARTS = 4
_KMEANS_ROWS = 20_000
_MAX_ROUNDS = 40
_LEAST_GAIN = 1e-4
_MAX_MARGIN = 1e12


@dataclass(frozen=True)
class Assignment:
    """labels: (n,) part of each row; prices: (k,) such that labels[i] = argmin(costs[i] + prices) up to
    epsilon.
    """

    labels: IntArray
    prices: FloatArray


def equal_capacities(n: int, k: int) -> IntArray:
    """(k,) part sizes that add up to n and differ by at most 1, the larger first."""
    sizes: IntArray = np.full(k, n // k, dtype=np.int64) + (np.arange(k) < n % k)
    return sizes


def auction(
    costs: FloatArray, capacities: IntArray, epsilon: float = _EPSILON, start: FloatArray | None = None
) -> Assignment:
    """Assign rows to parts of given sizes at least total cost, to within n * epsilon of the optimum.

    costs: (n, k); capacities: (k,) positive, adding up to n; start: (k,) prices to begin with, of a similar
    problem. Rows without a part bid for the best one what it is worth to them over the second best; a full
    part keeps its highest bids and its price is the lowest of them. Source: Bertsekas and Castanon 1989
    (auction with classes of similar objects), epsilon-scaled.
    """
    n, k = costs.shape
    assert capacities.shape == (k,) and int(capacities.sum()) == n and capacities.min() > 0
    # A bid needs a second best part.
    if k == 1:
        return Assignment(np.zeros(n, dtype=np.int64), np.zeros(1))
    values = torch.from_numpy(-costs)
    room = capacities.tolist()
    # from_numpy shares memory and the auction raises prices in place: the caller keeps its own.
    prices = torch.zeros(k, dtype=torch.float64) if start is None else torch.from_numpy(start.copy())
    coarse = (_COARSE_STEP if start is None else _WARM_STEP) * float(costs.max() - costs.min())
    step = max(epsilon, coarse)
    owners = _bid_until_all_own(values, prices, room, step)
    # Each finer auction begins with all rows free: a place bid for coarsely need not be right within a finer step.
    while step > epsilon:
        step = max(epsilon, step / _SHRINK)
        owners = _bid_until_all_own(values, prices, room, step)
    return Assignment(owners.numpy(), prices.numpy())


def _bid_until_all_own(values: torch.Tensor, prices: torch.Tensor, room: list[int], step: float) -> torch.Tensor:
    """One auction from given prices, which are raised in place. values: (n, k). Returns (n,) owners."""
    owners = torch.full((len(values),), -1, dtype=torch.int64)
    bids = torch.zeros(len(values), dtype=torch.float64)
    while True:
        free = torch.nonzero(owners < 0).squeeze(1)
        if not len(free):
            return owners
        best, choice = (values[free] - prices).topk(2, dim=1)
        margin = (best[:, 0] - best[:, 1]).clamp(max=_MAX_MARGIN)
        owners[free] = choice[:, 0]
        # Without the step rows that are equal would outbid each other by nothing for ever.
        bids[free] = prices[choice[:, 0]] + margin + step
        for part in torch.unique(choice[:, 0]).tolist():
            _keep_highest_bids(owners, bids, prices, part, room[part])


def _keep_highest_bids(owners: torch.Tensor, bids: torch.Tensor, prices: torch.Tensor, part: int, room: int) -> None:
    members = torch.nonzero(owners == part).squeeze(1)
    if len(members) < room:
        return
    # Stable: of equal bids the earlier row stays.
    order = torch.argsort(bids[members], descending=True, stable=True)
    owners[members[order[room:]]] = -1
    prices[part] = bids[members[order[room - 1]]]


def squared_distances(rows: FloatArray, centres: FloatArray) -> FloatArray:
    """(n, k) squared Euclidean distances; each entry depends on its own row and centre alone, bit for bit."""
    # A matrix product is faster, but rounds by the shape of the batch: a document at a border would change its owner.
    return np.stack([np.square(rows - centre).sum(axis=1) for centre in centres], axis=1)


def balanced_kmeans(rows: FloatArray, k: int, seed: int) -> FloatArray:
    """(k, d) centres of k-means in which every part has n/k rows (rounded), the best of a few starts.

    rows: (n, d), n >= k. Starts from k-means++ centres; each round assigns by auction and moves centres to
    the mean of their rows. Learned on at most 20,000 rows drawn by the seed. Source: balanced k-means of c-BTM (arXiv
    2303.14177).
    """
    drawn = rows
    if len(rows) > max(_KMEANS_ROWS, k):
        chosen = generator(seed, "k-means rows").choice(len(rows), max(_KMEANS_ROWS, k), replace=False)
        drawn = rows[np.sort(chosen)]
    tries = [_lloyd(drawn, first_centres(drawn, k, seed, restart)) for restart in range(_RESTARTS)]
    return min(tries, key=lambda tried: tried[0])[1]


def _lloyd(rows: FloatArray, centres: FloatArray) -> tuple[float, FloatArray]:
    """Rounds until they gain next to nothing; returns the best total squared distance and its centres."""
    capacities = equal_capacities(len(rows), len(centres))
    best = (np.inf, centres)
    prices: FloatArray | None = None
    for _ in range(_MAX_ROUNDS):
        costs = squared_distances(rows, centres)
        assigned = auction(costs, capacities, _KMEANS_EPSILON, prices)
        total = float(costs[np.arange(len(rows)), assigned.labels].sum())
        # An auction is right to within n * epsilon, so a total may also rise; the best one is kept.
        gained = total < best[0] * (1.0 - _LEAST_GAIN)
        best = min(best, (total, centres), key=lambda tried: tried[0])
        if not gained:
            break
        # Only differences of prices matter; without this they would rise from round to round.
        prices = assigned.prices - assigned.prices.min()
        centres = np.stack([rows[assigned.labels == part].mean(axis=0) for part in range(len(centres))])
    return best


def first_centres(rows: FloatArray, count: int, seed: int, restart: int = 0) -> FloatArray:
    """(count, d) k-means++: each next centre is a row drawn in proportion to its squared distance to the nearest
    chosen one.
    """
    rng = generator(seed, "kmeans++", restart)
    chosen = [int(rng.integers(len(rows)))]
    nearest = np.full(len(rows), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, squared_distances(rows, rows[chosen[-1:]])[:, 0])
        total = float(nearest.sum())
        # A total of 0: all rows are copies of chosen ones, and any is as good.
        chosen.append(int(rng.choice(len(rows), p=nearest / total if total > 0 else None)))
    return rows[chosen].copy()
