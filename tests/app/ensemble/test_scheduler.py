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


def scored(*lengths: int) -> list[Feed]:
    return [feed._replace(targets=feed.tokens, rows=0) for feed in ask(*lengths)]


def test_pieces_that_are_scored_are_reading_however_short() -> None:
    """Over XGLM's vocabulary the pieces of a scored prompt hold 16 tokens."""
    asks = [(str(reader), scored(16, 16)) for reader in range(9)]
    assert chosen([*asks, ("decodes", ask(1, 5))], budget=128) == ["0", "1", "2", "3", "decodes"]


def test_whoever_is_put_off_is_the_first_reader_in_time() -> None:
    left, steps = dict.fromkeys("abcd", 3), 0  # pieces that each has to read
    while left:
        (first, *others) = chosen([(name, scored(8)) for name in left], budget=1)
        assert not others
        left[first] -= 1
        left = {name: pieces for name, pieces in left.items() if pieces}
        steps += 1
    assert steps == 12


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
