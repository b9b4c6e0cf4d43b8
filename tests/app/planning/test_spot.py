from __future__ import annotations

from typing import Any

import pytest

from app.planning.costs import Gpu
from app.planning.interval import daly_interval
from app.planning.outlook import Assumptions, Work
from app.planning.spot import _drawn, _on, spot_outlook

GPU = Gpu("L40S", peak=1e12, memory=48e9, on_demand=2.0, spot=1.0)
WORKS = [Work("dense", 4000, 40, 36_000 * 10**12), *(Work(f"expert-{n}", 1000, 10, 9000 * 10**12) for n in range(4))]


def outlook(between: float, **changed: Any) -> dict[str, Any]:
    fields = {"restart": 300.0, "save": 60.0, "stall": 6.0, "head_per_hour": 0.5, **changed}
    assumed = Assumptions(gpu=GPU, gpus_each=1.0, utilisation=1.0, between=between, **fields)
    daly = daly_interval(assumed.stall, between)
    return dict(spot_outlook(WORKS, assumed, daly, interval=900.0, draws=60))


def test_undisturbed_hours_and_money_are_those_of_the_work() -> None:
    found = outlook(between=1e12, stall=0.0)
    for row in found["rows"]:
        hours = 10.0 / row["gpus"]  # four experts of 2.5 hours, dense of 10
        for system in ("experts", "dense_in_step"):
            assert row[system]["hours"]["p50"] == row[system]["hours"]["p99"] == pytest.approx(hours)
            assert row[system]["money"]["p50"] == pytest.approx(10.0 * 1.0 + hours * 0.5)
            assert row[system]["interruptions"] == 0
    assert [row["gpus"] for row in found["rows"]] == [1, 2, 4]


def test_dense_in_step_is_stopped_by_every_machine_and_so_takes_longer_on_many() -> None:
    rows = outlook(between=7200.0)["rows"]
    assert rows[-1]["dense_in_step"]["hours"]["p50"] > rows[-1]["experts"]["hours"]["p50"]
    assert rows[-1]["experts"]["interruptions"] > 0 and rows[-1]["experts"]["hours_redone"] > 0


def test_an_idle_machine_does_not_make_the_restart_of_an_interrupted_run_free() -> None:
    fields = {"restart": 300.0, "save": 60.0, "stall": 6.0, "head_per_hour": 0.5}
    assumed = Assumptions(gpu=GPU, gpus_each=1.0, utilisation=1.0, between=500.0, **fields)
    work = Work("expert-0", 1000, 10, 1000 * 10**12)
    one, two = (_drawn([work], {work.name: 1000.0}, _on(assumed, 100.0, slots), 60) for slots in (1, 2))
    assert [outcome.makespan for outcome in one] == pytest.approx([outcome.makespan for outcome in two])


def test_what_is_not_expected_to_end_is_told_and_not_simulated() -> None:
    # a restart of 15 minutes and a machine lost every 10: e to the power of 1.5 alone, of 6 for dense on four of them
    found = outlook(between=600.0, save=1.0, stall=1.0, restart=900.0)
    assert found["rows"][-1]["dense_in_step"] is None and found["rows"][-1]["experts"]["interruptions"] > 0
    # eight times the best interval is hopeless too where it comes near the time between two losses
    long = outlook(between=100.0, save=90.0, stall=90.0, restart=0.0)["interval"]
    assert len(long["seconds"]) == len(long["slowdown"]) < 7 and long["best_seconds"] in long["seconds"]


def test_the_best_interval_tried_is_near_dalys() -> None:
    found = outlook(between=7200.0)["interval"]
    assert min(found["slowdown"]) <= found["at_daly"] <= 1.03 * min(found["slowdown"])
    assert found["slowdown"][-1] > found["at_daly"]
