from __future__ import annotations

import math

import numpy as np
import pytest

from app.fleet.fleet import Fleet, plan_fleet
from app.planning.interval import slowdown
from app.planning.makespan import makespan
from app.planning.simulation import Conditions, simulate

NONE = np.random.default_rng(0)


def fleet(seconds: dict[str, float]) -> Fleet:
    return plan_fleet([(name, round(work), False) for name, work in seconds.items()], max_failures=0)


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_undisturbed_it_is_the_fleets_own_order(slots: int) -> None:
    seconds = {str(number): float(work) for number, work in enumerate((40, 17, 17, 30, 3, 9))}
    tokens = {name: round(work) for name, work in seconds.items()}
    found = simulate(fleet(seconds), seconds, Conditions(((0.0, slots),), interval=1000.0), NONE)
    assert found.makespan == pytest.approx(makespan(tokens, seconds, slots))
    assert found.busy == pytest.approx(sum(seconds.values())) and found.redone == found.interruptions == 0


def test_saves_hold_training_up_but_the_last_is_the_model_itself() -> None:
    conditions = Conditions(((0.0, 1),), interval=10.0, stall=2.0, save=5.0)
    assert [conditions.takes(work) for work in (9.0, 10.0, 11.0, 30.0)] == [9.0, 10.0, 13.0, 34.0]
    # saves begin at 10, 22, 34 and count 5 s later
    assert [conditions.trained(at) for at in (14.9, 15.0, 26.9, 27.0, 39.0)] == [0.0, 10.0, 10.0, 20.0, 30.0]


def test_a_slot_that_goes_sends_its_run_back_to_its_last_save() -> None:
    # both train from 0; at 25 the newer slot goes with b at 25 s, of which 20 are saved; a ends at 60, then b needs 30
    conditions = Conditions(((0.0, 2), (25.0, 1)), interval=10.0, noticed=3.0)
    found = simulate(fleet({"a": 60.0, "b": 50.0}), {"a": 60.0, "b": 50.0}, conditions, NONE)
    assert (found.makespan, found.redone, found.interruptions) == (90.0, 5.0, 1)
    assert found.busy == 60.0 + 25.0 + 30.0


def test_what_is_done_again_is_training_without_its_waits_for_saves() -> None:
    # two intervals of 10 s and a second, two waits of 2 s; of the saves begun at 10 and 22 only the first counts by 25
    conditions = Conditions(((0.0, 2), (25.0, 1)), interval=10.0, stall=2.0, save=5.0)
    assert [conditions.done(at) for at in (9.0, 11.0, 13.0, 25.0)] == [9.0, 10.0, 11.0, 21.0]
    seconds = {"a": 60.0, "b": 50.0}
    found = simulate(fleet(seconds), seconds, conditions, NONE)
    assert (found.redone, found.interruptions) == (21.0 - 10.0, 1)


def test_a_run_is_as_slow_as_the_formula_says_and_a_short_one_waits_for_no_save() -> None:
    conditions = Conditions(((0.0, 1),), interval=10.0, between=100.0, replaced=3.0, stall=2.0, save=5.0)
    assert conditions.expected_slowdown(50.0) == slowdown(10.0, 2.0, 3.0 + 5.0 - 2.0, 100.0)
    assert conditions.expected_slowdown(4.0) == slowdown(4.0, 0.0, 3.0, 100.0)


def test_starts_share_the_cores_they_have() -> None:
    seconds = dict.fromkeys("abcd", 100.0)
    shared = Conditions(((0.0, 4),), interval=1000.0, start=10.0, cores=2.0)
    assert simulate(fleet(seconds), seconds, shared, NONE).makespan == pytest.approx(120.0)
    alone = Conditions(((0.0, 4),), interval=1000.0, start=10.0)
    assert simulate(fleet(seconds), seconds, alone, NONE).makespan == pytest.approx(110.0)


def test_on_average_interruptions_cost_what_dalys_equation_says() -> None:
    work, conditions = 40.0, Conditions(((0.0, 1),), interval=1.0, between=8.0, replaced=0.5, stall=0.1, save=0.1)
    rng = np.random.default_rng(3)
    times = [simulate(fleet({"a": work}), {"a": work}, conditions, rng).makespan for _ in range(600)]
    expected = work * slowdown(1.0, 0.1, 0.5, 8.0)
    assert np.mean(times) == pytest.approx(expected, rel=0.03)


def test_without_a_slot_it_never_ends() -> None:
    assert simulate(fleet({"a": 9.0}), {"a": 9.0}, Conditions(((0.0, 1), (5.0, 0)), 1.0), NONE).makespan == math.inf


def test_it_predicts_the_measured_fleet_on_slots_that_come_and_go() -> None:
    # benchmarks.fleet, quiet, 2026-11-21: 8 experts of 120 s, one slot, four after 65 s, two from 240 s: 466.8 s.
    # A start's 4.0 s of a core on two cores are the overhead part's, the 10 steps between saves the benchmark's own.
    seconds = {str(number): 120.0 for number in range(8)}
    conditions = Conditions(((0.0, 1), (65.0, 4), (240.0, 2)), interval=10.0, start=4.0, cores=2.0)
    assert simulate(fleet(seconds), seconds, conditions, NONE).makespan == pytest.approx(466.8, rel=0.15)
