from __future__ import annotations

import pytest

from app.core.errors import Overloaded
from app.ensemble.client import Feed
from app.ensemble.scheduler import Slots, Waiting, chosen


def ask(*lengths: int) -> list[Feed]:
    return [Feed(0, expert, [1] * length, 0) for expert, length in enumerate(lengths)]


def test_all_who_decode_are_served_and_readers_as_the_budget_allows_oldest_first() -> None:
    asks = [("reads", ask(64, 64)), ("decodes", ask(1, 5)), ("reads too", ask(64)), ("no room", ask(64, 64, 64))]
    assert chosen(asks, budget=200) == ["reads", "decodes", "reads too"]


def test_the_first_reader_is_served_whatever_it_asks() -> None:
    assert chosen([("a", ask(64, 64)), ("b", ask(20))], budget=10) == ["a"]
    assert chosen([], budget=10) == []


def test_slots_are_given_once() -> None:
    slots = Slots(2)
    assert (slots.take(), slots.take(), slots.free) == (0, 1, 0)
    slots.give_back(1)
    assert (slots.free, slots.take()) == (1, 1)


def test_the_queue_is_first_come_first_served_and_bounded() -> None:
    waiting: Waiting[int] = Waiting(2)
    waiting.require_room(3, free=1)
    for item in (1, 2):
        waiting.add(item)
    with pytest.raises(Overloaded, match="2 texts wait already and at most 2 may"):
        waiting.require_room(1, free=0)
    waiting.remove(lambda item: item == 1)
    assert (len(waiting), waiting.take()) == (1, 2)
