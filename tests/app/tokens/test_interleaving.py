from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tokens import interleaving
from app.tokens.interleaving import Interleaving


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any), st.integers(0, 5), st.integers(1, 40))
def test_every_row_of_every_language_comes_once_and_in_its_order(counts: list[int], seed: int, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaving, "_WINDOW_ROWS", window)
        order = Interleaving(counts, seed)
        found = [order.at(i) for i in range(len(order))]
    assert len(order) == sum(counts)
    for number, count in enumerate(counts):
        assert [ordinal for language, ordinal in found if language == number] == list(range(count))


def test_a_row_is_the_same_whichever_was_asked_for_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaving, "_WINDOW_ROWS", 7)
    order = Interleaving([40, 20, 3], 1)
    found = [order.at(i) for i in range(63)]
    again = Interleaving([40, 20, 3], 1)
    assert [again.at(i) for i in (62, 0, 31, 7, 6, 31)] == [found[i] for i in (62, 0, 31, 7, 6, 31)]
    assert [Interleaving([40, 20, 3], 2).at(i) for i in range(63)] != found


def test_at_any_time_each_language_has_had_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaving, "_WINDOW_ROWS", 100)
    order, counts = Interleaving([5000, 3000, 2000], 0), Counter[int]()
    for i in range(len(order)):
        counts[order.at(i)[0]] += 1
        if i % 100 == 0:
            assert all(abs(counts[n] - share * i) < 60 for n, share in enumerate((0.5, 0.3, 0.2)))


def test_what_is_held_does_not_grow_with_the_rows() -> None:
    order = Interleaving([5 * 10**11, 3 * 10**11, 1], 0)
    places = [0, 123_456_789_012, len(order) - 1]
    assert all(0 <= order.at(i)[0] <= 2 for i in places)
    assert len(order._last.language) < 2 * interleaving._WINDOW_ROWS
