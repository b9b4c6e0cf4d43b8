from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from benchmarks.experiment import Cut
from benchmarks.experiment_seeds import language_table, spread, system_table


def test_the_interval_is_students() -> None:
    values = [-0.06, -0.05, -0.09]
    found = spread(values)
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.mean == pytest.approx(-0.2 / 3) and found.is_clear == (high < 0)


def test_a_single_run_has_no_interval_and_nothing_is_clear() -> None:
    found = spread([-0.5])
    assert found.mean == -0.5 and math.isnan(found.low) and not found.is_clear
    assert str(found) == "-50.0% (one run)"


def summary(change: float, wins: int) -> dict[str, Any]:
    system = {"mean_log_perplexity_ratio": math.log1p(change), "wins_over_dense": wins}
    system |= {"clear_wins_over_dense": wins - 1, "clear_losses_to_dense": 0}
    return {
        "systems": dict.fromkeys(("ensemble", "ensemble_told", "dense_double_rate"), system),
        "per_language": {"de": {"ensemble": {"change_from_dense": change}}},
    }


def test_tables_show_the_mean_of_the_runs_and_each_runs_wins() -> None:
    runs = {Cut("typological", 8): [summary(-0.06, 15), summary(-0.07, 16), summary(-0.05, 14)]}
    table = system_table(runs)
    logs = [math.log1p(change) for change in (-0.06, -0.07, -0.05)]
    low, high = (math.expm1(end) for end in stats.t.interval(0.95, 2, loc=sum(logs) / 3, scale=stats.sem(logs)))
    shown = f"-6.0% [{low:+.1%}, {high:+.1%}] clear | 15 16 14 | 14 15 13 | 0 0 0 |"
    assert f"| typological k=8 | ensemble | {shown}" in table and f"| dense_double_rate | {shown}" in table
    assert "top1_language" not in table  # no run has it
    assert language_table(runs).splitlines()[-1] == "| de | -6.0% [-8.5%, -3.5%] clear |"
