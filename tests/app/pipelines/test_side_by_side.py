from __future__ import annotations

import threading

import pytest

from app.pipelines import side_by_side
from app.pipelines.side_by_side import each


def test_answers_come_in_order_and_no_more_are_asked_for_than_are_used_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_AHEAD", 2)
    asked: list[int] = []

    def read(number: int) -> int:
        asked.append(number)
        return number**2

    waiting = each(read, range(7))
    assert next(waiting) == 0 and len(asked) <= 2
    assert list(waiting) == [1, 4, 9, 16, 25, 36] and sorted(asked) == list(range(7))


def test_reads_wait_side_by_side() -> None:
    together = threading.Barrier(8, timeout=20)
    assert len(list(each(lambda _: together.wait(), range(16)))) == 16


def test_an_error_of_a_read_is_raised_in_its_place() -> None:
    found = each(lambda number: 6 // number, [3, 0])
    assert next(found) == 2
    with pytest.raises(ZeroDivisionError):
        next(found)
