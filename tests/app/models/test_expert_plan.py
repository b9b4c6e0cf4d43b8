from __future__ import annotations

import pytest
import torch

from app.models.expert_plan import ExpertPlan
from app.models.stacked_weights import Product

WEIGHT, BIAS = torch.randn(6, 3, 4), torch.randn(6, 1, 4)


@pytest.mark.parametrize(
    "experts", [[2], [2, 2], [0, 1, 2, 3, 4, 5], [1, 3, 5], [0, 1, 4, 5], [0, 0, 2, 2, 3], [0, 5, 5, 5]], ids=str
)
@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_each_row_meets_the_weights_of_its_own_expert(experts: list[int], tokens: int) -> None:
    plan = ExpertPlan(experts, 6, torch.device("cpu"))
    x, ids = torch.randn(len(experts), tokens, 3), torch.randint(4, (len(experts), tokens))
    for bias in (BIAS, None):
        got = plan.linear(x, Product(WEIGHT, bias))
        for row, expert in enumerate(experts):
            expected = x[row] @ WEIGHT[expert] + (0 if bias is None else bias[expert])
            torch.testing.assert_close(got[row], expected)
    torch.testing.assert_close(plan.of_rows(BIAS).expand(len(experts), -1, -1), BIAS[experts])
    embedded = plan.embedded(ids, WEIGHT)
    for row, expert in enumerate(experts):
        assert torch.equal(embedded[row], WEIGHT[expert].T[ids[row]])
