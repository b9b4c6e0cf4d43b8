from __future__ import annotations

import pytest

from benchmarks.fleet_shares import held_seconds, idle_share, mean_startup


def test_a_free_slot_counts_only_while_a_member_waits() -> None:
    # two slots for 10 s: b starts 2 s late, and when both have ended nothing waits any more
    assert idle_share([(0.0, 2)], [("a", 0.0, 10.0), ("b", 2.0, 6.0)]) == pytest.approx(2 / 20)


def test_between_two_attempts_a_member_waits() -> None:
    runs = [("a", 0.0, 4.0), ("a", 7.0, 10.0)]
    assert idle_share([(0.0, 1)], runs) == pytest.approx(3 / 10)
    assert idle_share([(0.0, 1), (4.0, 0), (7.0, 1)], runs) == 0  # there was no slot meanwhile
    assert idle_share([(0.0, 3)], runs) == pytest.approx(3 / 30)  # one member fills one slot


def test_slots_that_come_count_from_then_on_and_a_run_without_a_slot_fills_none() -> None:
    runs = [("a", 0.0, 10.0), ("b", 6.0, 10.0)]
    assert idle_share([(0.0, 1), (5.0, 2)], runs) == pytest.approx(1 / (5 + 10))
    assert idle_share([(0.0, 2), (8.0, 1)], [("a", 0.0, 10.0), ("b", 0.0, 10.0)]) == 0
    assert idle_share([(0.0, 2)], []) == 0


def test_a_run_whose_slot_has_gone_holds_none_until_it_has_another() -> None:
    # b starts on the second slot, which goes after 4 s; it has a's from the tenth second on
    runs = [("a", 0.0, 10.0), ("b", 2.0, 16.0)]
    assert held_seconds([(0.0, 2), (4.0, 1)], runs) == pytest.approx(10 + 2 + 6)
    assert held_seconds([(0.0, 2)], runs) == pytest.approx(10 + 14)
    assert held_seconds([(0.0, 3), (12.0, 0)], [("a", 0.0, 10.0), ("a", 12.0, 13.0)]) == pytest.approx(10)
    assert held_seconds([(0.0, 1)], []) == 0


def test_a_start_during_which_slots_were_lost_does_not_count_as_one() -> None:
    slots = [(0.0, 1), (5.0, 3), (20.0, 2)]
    starts = [(0.0, 8.0), (5.0, 11.0), (18.0, 90.0)]  # the second starts as slots come, the third waits for one
    assert mean_startup(starts, slots) == pytest.approx(7.0)
    assert mean_startup(starts, slots[:2]) == pytest.approx((8 + 6 + 72) / 3)
