from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ConfigError
from app.planning.costs import Gpu
from app.planning.interval import slowdown
from app.planning.outlook import Assumptions, Work, gpu_outlook

GPU = Gpu("one", peak=1e12, memory=1e9, on_demand=2.0, spot=1.0)
ASSUMED = Assumptions(GPU, 1.0, 0.5, between=36_000.0, restart=300.0, save=60.0, stall=6.0, head_per_hour=0.1)
HOUR_OF_FLOPS = round(0.5e12 * 3600)
WORKS = [
    Work("dense", 4000, 400, 4 * HOUR_OF_FLOPS),
    Work("expert-00", 3000, 300, 3 * HOUR_OF_FLOPS),
    Work("expert-01", 1000, 100, HOUR_OF_FLOPS),
]


def outlook(works: list[Work] = WORKS, assumed: Assumptions = ASSUMED, every: int = 50) -> dict[str, Any]:
    return dict(gpu_outlook(works, assumed, 600.0, every))


def test_hours_and_money_of_each_number_of_gpus_by_hand() -> None:
    found = outlook()
    assert found["gpu_hours"] == {"dense": 4.0, "expert-00": 3.0, "expert-01": 1.0}
    assert [(row["gpus"], row["hours_experts"], row["hours"]) for row in found["wall"]] == [
        (1.0, 4.0, 8.0),
        (2.0, 3.0, 4.0),
        (3.0, 3.0, 4.0),
    ]
    assert [row["money_on_demand"] for row in found["wall"]] == pytest.approx([16.8, 16.4, 16.4])
    slower = found["checkpoints"]["slowdown"]
    assert found["wall"][1]["money_spot"] == pytest.approx(8 * slower + 0.1 * 4 * slower)
    assert found["wall"][1]["hours_spot"] == pytest.approx(4 * slower)


def test_further_dense_models_are_no_experts() -> None:
    more = [*WORKS, Work("dense_double_rate", 4000, 400, 4 * HOUR_OF_FLOPS)]
    alone = [[row["hours_experts"] for row in outlook(works)["wall"]][:3] for works in (WORKS, more)]
    assert alone[0] == alone[1]


def test_steps_that_come_nearest_to_the_best_interval_are_named_and_cost_less() -> None:
    checkpoints = outlook()["checkpoints"]
    assert checkpoints["seconds_per_step"] == pytest.approx(36.0) and checkpoints["best_steps"] == 17
    assert 1 < checkpoints["slowdown_at_best"] < checkpoints["slowdown"]
    assert checkpoints["interruptions"] == pytest.approx(0.8 * checkpoints["slowdown"])
    assert checkpoints["hours_redone"] == pytest.approx(checkpoints["interruptions"] * (900 + 60) / 3600)


def test_an_interruption_costs_the_new_start_and_the_time_until_a_save_counts() -> None:
    # training goes on beside all of a save but its stall, which every interval has paid
    assert ASSUMED.slower(600.0) == slowdown(600.0, stall=6.0, lost=300.0 + 60.0 - 6.0, between=36_000.0)


def test_saves_are_never_closer_than_one_takes() -> None:
    assert ASSUMED.slower(1.0) == ASSUMED.slower(60.0) > 1


def test_no_run_goes_longer_without_a_save_than_it_takes() -> None:
    # dense has 400 steps of 36 s, the longest run
    at_its_end, beyond = outlook(every=400)["checkpoints"], outlook(every=10**9)["checkpoints"]
    assert {**beyond, "steps": 400} == at_its_end and beyond["steps"] == 10**9
    assert at_its_end["slowdown"] == ASSUMED.slower(4 * 3600.0)


def test_a_plan_that_would_never_end_on_spot_names_the_settings_and_a_better_one() -> None:
    # an interruption a minute and a save in four hours: e to the power of 240
    often = replace(ASSUMED, between=60.0, restart=0.0, save=1.0, stall=1.0)
    with pytest.raises(ConfigError, match=r"save every 4h 00m .*interruption every 1m 00s .*every_steps=17"):
        outlook(assumed=often, every=10**9)


def test_two_gpus_for_a_run_halve_its_time_and_leave_gpu_hours() -> None:
    found = outlook(assumed=replace(ASSUMED, gpus_each=2.0))
    assert found["gpu_hours"] == {"dense": 4.0, "expert-00": 3.0, "expert-01": 1.0}
    assert [(row["gpus"], row["hours"]) for row in found["wall"]] == [(2.0, 4.0), (4.0, 2.0), (6.0, 2.0)]


def test_a_trained_seed_comes_before_everything_and_alone() -> None:
    found = outlook([Work("seed", 9000, 900, 9 * HOUR_OF_FLOPS), *WORKS])
    assert [(row["gpus"], row["hours_experts"], row["hours"]) for row in found["wall"]] == [
        (1.0, 13.0, 17.0),
        (2.0, 12.0, 13.0),
        (3.0, 12.0, 13.0),
    ]


def test_a_dense_model_of_as_few_and_longer_steps_does_not_set_the_interval_of_the_experts() -> None:
    wide = [Work("dense", 4000, 100, 4 * HOUR_OF_FLOPS), *WORKS[1:]]
    assert outlook(wide)["checkpoints"] == outlook()["checkpoints"]


def test_where_one_expert_is_the_dense_model_the_experts_alone_take_as_long_as_all() -> None:
    (row,) = outlook(WORKS[:1])["wall"]
    assert row["hours_experts"] == row["hours"] == 4.0
