from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.training.schedule import Schedule, learning_rate_factor

ALL: tuple[Schedule, ...] = ("constant", "linear", "cosine", "wsd")


def factors(schedule: Schedule, steps: int, warmup: float, final: float) -> list[float]:
    return [learning_rate_factor(schedule, step, steps, warmup, final) for step in range(steps)]


@pytest.mark.parametrize("schedule", ALL)
def test_warm_up_rises_linearly_to_the_peak_at_its_last_step(schedule: Schedule) -> None:
    got = factors(schedule, 40, 0.1, 0.1)
    assert got[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_linear_by_hand() -> None:
    assert factors("linear", 6, 0.0, 0.0) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert factors("linear", 5, 0.0, 0.2) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_cosine_by_hand() -> None:
    root = math.sqrt(0.5)
    expected = [1.0, (1 + root) / 2, 0.5, (1 - root) / 2, 0.0]
    assert factors("cosine", 5, 0.0, 0.0) == pytest.approx(expected)
    assert factors("cosine", 5, 0.0, 0.1) == pytest.approx([0.1 + 0.9 * value for value in expected])


def test_wsd_stays_at_the_peak_and_falls_over_the_last_fifth() -> None:
    got = factors("wsd", 21, 0.0, 0.0)
    assert got[:17] == [1.0] * 17
    assert got[17:] == pytest.approx([0.75, 0.5, 0.25, 0.0])


def test_constant_never_falls() -> None:
    assert factors("constant", 9, 0.0, 0.1) == [1.0] * 9


@given(st.sampled_from(ALL), st.integers(1, 60), st.floats(0, 1), st.floats(0.001, 1))
def test_every_factor_lies_between_nothing_and_the_peak(
    schedule: Schedule, steps: int, warmup: float, final: float
) -> None:
    got = factors(schedule, steps, warmup, final)
    assert all(0 < factor <= 1 + 1e-12 for factor in got)
    first = round(steps * warmup)
    assert got[:first] == sorted(got[:first])
    assert got[first:] == sorted(got[first:], reverse=True)
    if schedule != "constant" and first < steps - 1:
        assert got[-1] == pytest.approx(final)
