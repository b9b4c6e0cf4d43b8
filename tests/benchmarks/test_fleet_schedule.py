from __future__ import annotations

import math

import pytest

from benchmarks.fleet_schedule import best_makespan


@pytest.mark.parametrize(
    ("works", "overhead", "timeline", "seconds"),
    [
        ([10.0], 0.0, [(0.0, 1)], 10.0),
        ([10.0, 10.0], 1.0, [(0.0, 1)], 22.0),
        ([10.0, 10.0], 1.0, [(0.0, 2)], 11.0),
        ([3.0, 3.0, 2.0, 2.0, 2.0], 0.0, [(0.0, 2)], 6.0),  # longest first would end at 7
        ([10.0, 10.0], 0.0, [(0.0, 1), (5.0, 2)], 15.0),
        ([10.0, 10.0], 1.0, [(0.0, 2), (5.0, 1)], 18.0),  # kept until 11; the other has 6 left and starts again
        ([10.0, 4.0], 0.0, [(0.0, 2), (5.0, 1)], 10.0),
        ([10.0, 10.0], 4.0, [(0.0, 2), (2.0, 1)], 28.0),  # lost in its start-up: the whole work is left, not more
        ([10.0, 10.0], 0.0, [(0.0, 0), (7.0, 2)], 17.0),
    ],
)
def test_hand_worked_schedules(
    works: list[float], overhead: float, timeline: list[tuple[float, int]], seconds: float
) -> None:
    assert best_makespan(works, overhead, timeline) == pytest.approx(seconds)


def test_work_that_outlives_its_slots_never_ends() -> None:
    assert best_makespan([10.0], 0.0, [(0.0, 1), (5.0, 0)]) == math.inf


def test_eight_equal_runs_end_between_a_perfect_split_of_the_work_and_one_run_more() -> None:
    found = best_makespan([120.0] * 8, 0.0, [(0.0, 1), (60.0, 4), (200.0, 2)])
    left_at_200 = 8 * 120 - (60 * 1 + 140 * 4)
    assert 200 + left_at_200 / 2 <= found <= 200 + left_at_200 / 2 + 120
