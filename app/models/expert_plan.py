"""Which expert each row of a pass belongs to, and products with the chosen experts' weights without copying them.

Weights of k experts lie in one tensor with the experts first. Experts at a constant step from each other are a view of
it, so rows are cut into runs of such experts with equally many rows each; a run is one batched product.

Shape legend: E experts of the stack, P rows of a pass, T tokens of each, D width in, F width out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn import functional as F

from app.models.cache import runs_of_constant_step
from app.models.stacked_weights import Product


@dataclass(frozen=True)
class _Run:
    rows: slice
    experts: slice
    count: int


class ExpertPlan:
    """experts: the expert of each of the P rows, ascending. Raises ValueError for another order."""

    def __init__(self, experts: Sequence[int], available: int, device: torch.device) -> None:
        if not experts or list(experts) != sorted(experts) or not (experts[0] >= 0 and experts[-1] < available):
            raise ValueError(f"rows must be ordered by expert, from 0 to {available - 1}: {list(experts)}")
        groups = [(expert, len(list(rows))) for expert, rows in groupby(experts)]
        self._runs: list[_Run] = []
        start = 0
        # Only neighbours with equally many rows fit one batched product.
        for size, same in groupby(groups, key=lambda group: group[1]):
            for places, chosen in runs_of_constant_step([expert for expert, _ in same]):
                count = places.stop - places.start
                self._runs.append(_Run(slice(start, start + count * size), chosen, count))
                start += count * size
        # A usual case of decoding: the weights of one expert are views, and nothing is indexed.
        self.only = experts[0] if len(groups) == 1 else None
        whole = len(self._runs) == 1 and len(groups) == len(experts)
        self._index = self._runs[0].experts if whole else torch.tensor(experts, device=device)

    def linear(self, x: torch.Tensor, weights: Product) -> torch.Tensor:
        """Each row through its own expert. x: (P, T, D); weights: of a product. Returns (P, T, F)."""
        if len(self._runs) == 1:
            return self._product(x, self._runs[0], weights)
        outputs = [self._product(x[run.rows], run, weights) for run in self._runs]
        return torch.cat(outputs)

    def of_rows(self, parameter: torch.Tensor) -> torch.Tensor:
        """(E, 1, D) small parameters -> (P or 1, 1, D), those of each row's expert; a view where there is one."""
        return parameter[self._index if self.only is None else slice(self.only, self.only + 1)]

    def embedded(self, rows: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """(P, T) ids -> (P, T, D): each row's columns of its own expert's table; table: (E, D, V)."""
        if self.only is not None:
            # By an index: index_select would copy the whole table first, whose rows have room between them.
            return table[self.only][:, rows].permute(1, 2, 0).contiguous()
        experts = self._index
        if isinstance(experts, slice):
            experts = torch.arange(experts.start, experts.stop, experts.step, device=rows.device)
        # Indices on both sides of a slice put their axes first: (P, T, D).
        return table[experts[:, None], :, rows]

    @staticmethod
    def _product(x: torch.Tensor, run: _Run, weights: Product) -> torch.Tensor:
        if run.count == 1:
            return F.linear(x, *weights.of_one[run.experts.start])
        rows, chosen = x.reshape(run.count, -1, x.shape[2]), weights.weight[run.experts]
        if weights.bias is None:
            out = torch.bmm(rows, chosen)
        else:
            out = torch.baddbmm(weights.bias[run.experts], rows, chosen)
        return out.view(*x.shape[:2], -1)
