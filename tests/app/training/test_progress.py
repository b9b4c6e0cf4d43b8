from __future__ import annotations

import pytest

from app.core.records import JsonObject
from app.training.progress import training_progress


def row(step: int, time: float, seconds: float) -> JsonObject:
    return {
        "step": step,
        "time": time,
        "seconds": seconds,
        "tokens_seen": 10 * step,
        "loss": 3.0,
        "tokens_per_second": 5.0,
    }


def test_an_undisturbed_run_has_lost_nothing() -> None:
    found = training_progress([row(step, 100.0 + 2 * step, 2.0 * step) for step in range(1, 6)])
    assert found is not None
    assert (found.step, found.tokens_seen, found.attempts, found.seconds_lost) == (5, 50, 1, 0.0)
    assert (found.wall_seconds, found.worker_seconds) == (10.0, 10.0)


def test_what_an_interruption_cost_is_the_gap_less_the_steps_it_brought() -> None:
    # two seconds a step; after step 4 at t=108 the machine goes, step 5 is done at t=140: 30 s more than it takes
    rows = [row(step, 100.0 + 2 * step, 2.0 * step) for step in range(1, 5)]
    rows += [row(step, 130.0 + 2 * step, 2.0 * (step - 4)) for step in range(5, 8)]
    found = training_progress(rows)
    assert found is not None and found.attempts == 2 and found.seconds_lost == pytest.approx(30.0)
    assert (found.wall_seconds, found.worker_seconds) == (44.0, 8.0 + 6.0)


def test_a_short_attempt_before_a_slow_start_is_an_attempt() -> None:
    # the first attempt wrote its last row after 1 s; the second wrote its first after 3 s of its own, 10 s later
    found = training_progress([row(1, 100.5, 0.5), row(2, 101.0, 1.0), row(3, 111.0, 3.0), row(4, 111.5, 3.5)])
    assert found is not None and (found.attempts, found.worker_seconds) == (2, 1.0 + 3.5)
    assert found.seconds_lost == pytest.approx(9.5)


def test_without_a_row_there_is_no_progress() -> None:
    assert training_progress([]) is None
