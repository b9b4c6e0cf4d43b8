from __future__ import annotations

import math
from typing import Any

import pytest

from tune.budget import budget_fit

MILLION = 1_000_000


def entry(k: int, budget: int, found: float, width: float = 0.0) -> dict[str, Any]:
    settings = {"k": k, "budget_tokens": budget}
    return {"config": settings, "mean_log_ratio": found, "low": found - width / 2, "high": found + width / 2}


def lines(width: float = 0.0) -> list[dict[str, Any]]:
    """k = 2 stays at -0.1; k = 8 begins at 0 and gains 0.05 with each doubling: they cross at four million."""
    found = [entry(2, n * MILLION, -0.1, width) for n in (1, 2, 4)]
    return found + [entry(8, n * MILLION, -0.05 * math.log2(n) + 0.02, width) for n in (1, 2, 4)]


def test_the_best_k_beyond_the_largest_budget_is_where_the_lines_lead_and_is_marked() -> None:
    fit: Any = budget_fit(lines(), 0)
    assert [(place["budget_tokens"] // MILLION, place["k"], place["extrapolated"]) for place in fit["at"]] == [
        (1, 2, False),
        (2, 2, False),
        (4, 2, False),
        (8, 8, True),
        (16, 8, True),
    ]
    last = fit["at"][-1]
    assert last["mean_log_ratio"] == pytest.approx(-0.05 * 4 + 0.02)
    assert last["share"] == 1 and last["low"] == pytest.approx(last["high"])  # the points lie on their lines
    assert fit["fits"][1]["slope"] == pytest.approx(-0.05 / math.log(2))


def test_trials_that_are_known_badly_make_the_best_k_uncertain() -> None:
    fit: Any = budget_fit(lines(width=0.2), 0)
    eight = fit["at"][3]
    assert eight["k"] == 8 and 0.5 < eight["share"] < 0.9
    assert (eight["k_low"], eight["k_high"]) == (2, 8)
    assert eight["low"] < eight["mean_log_ratio"] < eight["high"]
    assert fit == budget_fit(lines(width=0.2), 0)


def test_with_too_few_budgets_it_says_so_and_without_both_axes_there_is_nothing_to_say() -> None:
    few = [one for one in lines() if one["config"] != {"k": 8, "budget_tokens": 4 * MILLION}]
    assert budget_fit(few, 0) == {"reason": "k=8 was tried at 2 budgets; a fit needs 3 for each k"}
    assert budget_fit([one for one in lines() if one["config"]["k"] == 2], 0) is None
    assert budget_fit([{"config": {"k": 2}, "mean_log_ratio": 0.0}], 0) is None
