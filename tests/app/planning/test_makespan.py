from __future__ import annotations

import itertools
import random

import pytest

from app.planning.makespan import makespan


def by_hand(seconds: list[float], slots: int) -> float:
    """Longest first onto the slot that is free first."""
    ends = [0.0] * slots
    for each in sorted(seconds, reverse=True):
        ends[ends.index(min(ends))] += each
    return max(ends)


def best(seconds: list[float], slots: int) -> float:
    """Over every way of giving models to slots."""
    return min(
        max(sum(s for s, slot in zip(seconds, ways, strict=True) if slot == n) for n in range(slots))
        for ways in itertools.product(range(slots), repeat=len(seconds))
    )


def test_a_worked_example() -> None:
    tokens = {"dense": 8, "a": 3, "b": 3, "c": 2}
    seconds = {name: float(work) for name, work in tokens.items()}
    assert [makespan(tokens, seconds, slots) for slots in (1, 2, 3, 4, 9)] == [16.0, 8.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_it_is_longest_first_and_never_a_third_above_the_best(slots: int) -> None:
    rng = random.Random(slots)
    for _ in range(40):
        works = [rng.randint(1, 50) for _ in range(6)]
        tokens = {str(number): work for number, work in enumerate(works)}
        seconds = {name: float(work) for name, work in tokens.items()}
        found = makespan(tokens, seconds, slots)
        assert found == by_hand(list(seconds.values()), slots)
        assert found <= best(list(seconds.values()), slots) * (4 / 3 - 1 / (3 * slots)) + 1e-9  # Graham 1969


def test_nothing_to_do_takes_no_time() -> None:
    assert makespan({}, {}, 2) == 0.0
