from __future__ import annotations

import pytest

from app.evaluation.costs import ModelCost, SystemCost, system_costs

MODELS = {
    "seed": ModelCost(100, 500, (0, 0.0)),
    "dense": ModelCost(100, 500, (1000, 2.0)),
    "expert-00": ModelCost(100, 400, (1000, 2.0)),
    "expert-01": ModelCost(100, 600, (1000, 4.0)),
}


def test_the_ensemble_holds_all_experts_and_an_expert_is_their_mean() -> None:
    written = {"dense": 0.01, "expert": 0.015, "ensemble": 0.04}
    rows = system_costs(MODELS, ["expert-00", "expert-01"], {"ensemble": 1.25}, written)
    assert rows == [
        SystemCost("seed", 1, 1.0, 500, 400, None, None),
        SystemCost("dense", 1, 1.0, 500, 400, 0.002, 0.01),
        SystemCost("expert", 1, 1.0, 500, 400, 0.003, 0.015),
        SystemCost("ensemble", 2, 1.25, 1000, 800, 0.006, 0.04),
    ]


def test_what_was_not_scored_or_written_has_no_time_and_an_ensemble_without_a_count_runs_all() -> None:
    models = {**MODELS, "expert-01": ModelCost(100, 600, (0, 0.0))}
    *_, ensemble = system_costs(models, ["expert-00", "expert-01"], {}, {})
    assert ensemble.scoring is None and ensemble.writing is None and ensemble.passes == pytest.approx(2.0)
