from __future__ import annotations

import pytest

from app.fleet.pace import Pace


def _seen(**speeds: float) -> Pace:
    pace = Pace()
    for name, speed in speeds.items():
        for second in range(0, 100, 5):
            pace.see(name, float(second), speed * second)
    return pace


def test_the_speed_is_that_of_the_last_minute_and_not_of_the_last_step() -> None:
    pace = Pace()
    for second, tokens in ((0, 0), (100, 0), (130, 3000), (160, 6000)):
        pace.see("a", float(second), float(tokens))
    assert pace.speed("a") == pytest.approx(100.0)


def test_a_model_that_goes_back_to_a_checkpoint_is_measured_anew() -> None:
    pace = _seen(a=10.0)
    pace.see("a", 200.0, 100.0)
    assert pace.speed("a") == 0.0
    pace.see("a", 210.0, 600.0)
    pace.see("a", 220.0, 1100.0)
    assert pace.speed("a") == pytest.approx(50.0)


def test_the_start_of_a_model_does_not_count_against_its_speed() -> None:
    pace = Pace()
    for second, tokens in ((0, 0), (5, 0), (30, 0), (35, 40), (40, 540)):
        assert pace.speed("a") == 0.0
        pace.see("a", float(second), float(tokens))
    assert pace.speed("a") == pytest.approx(100.0)


def test_what_waits_is_done_at_the_speed_of_all_together() -> None:
    pace = _seen(a=10.0, b=30.0)
    assert pace.seconds_left({"a": 100.0, "b": 300.0}, 400.0) == pytest.approx(20.0)


def test_the_slowest_that_runs_is_waited_for() -> None:
    assert _seen(a=10.0, b=30.0).seconds_left({"a": 1000.0, "b": 30.0}, 0.0) == pytest.approx(100.0)


def test_nothing_is_predicted_while_nothing_moves() -> None:
    assert Pace().seconds_left({"a": 10.0}, 0.0) is None
