from __future__ import annotations

import math
import random

import pytest
from scipy.optimize import minimize_scalar

from app.planning.interval import daly_interval, slowdown, young_interval

CASES = [(10.0, 36_000.0), (1.0, 600.0), (60.0, 3600.0), (300.0, 900.0)]


def best_by_search(stall: float, between: float) -> float:
    found = minimize_scalar(
        lambda interval: slowdown(interval, stall, 0.0, between), bounds=(1e-3, 20 * between), method="bounded"
    )
    return float(found.x)


def test_youngs_example_by_hand() -> None:
    assert young_interval(stall=8.0, between=100.0) == 40.0


@pytest.mark.parametrize(
    ("between_hours", "minutes"),
    [(24.0, 117.0), (6.0, 57.0), (0.25, 9.1)],
)
def test_dalys_own_figures(between_hours: float, minutes: float) -> None:
    """Figures 3 to 5 of the paper: saves of five minutes."""
    assert daly_interval(300.0, between_hours * 3600) / 60 == pytest.approx(minutes, abs=1.0)


@pytest.mark.parametrize(("stall", "between"), CASES)
def test_the_optimum_is_where_a_search_finds_it(stall: float, between: float) -> None:
    best = best_by_search(stall, between)
    at = [slowdown(interval, stall, 0.0, between) for interval in (daly_interval(stall, between), best)]
    assert daly_interval(stall, between) == pytest.approx(best, rel=0.02) and at[0] == pytest.approx(at[1], rel=1e-4)


def test_dalys_optimum_does_not_depend_on_the_time_to_start_again() -> None:
    alone, lost = (
        minimize_scalar(lambda x, more=more: slowdown(x, 10.0, more, 3600.0), bounds=(1, 9999), method="bounded").x
        for more in (0.0, 500.0)
    )
    assert alone == pytest.approx(lost, rel=1e-3)


def test_where_saves_cost_more_than_interruptions_they_come_as_seldom() -> None:
    assert daly_interval(stall=500.0, between=100.0) == 100.0


def test_what_would_never_end_is_infinitely_slow_and_no_error() -> None:
    assert slowdown(1e6, 1.0, 0.0, between=1.0) == math.inf == slowdown(1.0, 1.0, 1e6, between=1.0)


def simulated(interval: float, stall: float, save: float, restart: float, between: float, seed: int) -> float:
    """Time to train 2,000 intervals over the undisturbed time; a save counts only when it has been written.

    Saves are written beside training; an interruption goes back to the newest that was finished by then.
    """
    rng = random.Random(seed)
    goal, now, done, saved = 2000, 0.0, 0, 0
    failure = rng.expovariate(1 / between)
    pending: list[tuple[float, int]] = []
    while done < goal:
        end = now + interval + stall
        if failure < end:
            saved = max([saved, *(number for when, number in pending if when <= failure)])
            now, done, pending = failure + restart, saved, []
            while (failure := failure + rng.expovariate(1 / between)) < now:
                now = failure + restart  # interrupted again before training went on
            continue
        now, done = end, done + 1
        pending = [*pending[-3:], (now - stall + save, done)]
    return now / (goal * interval)


@pytest.mark.parametrize(
    ("interval", "stall", "save", "restart"), [(300, 5, 5, 60), (900, 10, 10, 0), (400, 5, 80, 60)]
)
def test_the_slowdown_is_that_of_a_simulation(interval: float, stall: float, save: float, restart: float) -> None:
    between = 3600.0
    runs = [simulated(interval, stall, save, restart, between, seed) for seed in range(12)]
    expected = slowdown(interval, stall, restart + save - stall, between)
    assert math.fsum(runs) / len(runs) == pytest.approx(expected, abs=0.012)
