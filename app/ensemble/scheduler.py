"""Who may run: a bounded queue, slots that are taken and given back, and how much is fed in one step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from app.core.errors import Overloaded
from app.ensemble.client import Feed

T = TypeVar("T")
# More than MOST_DRAFTED and the newest token together, so that a cycle with drafts counts as decoding.
_SHORT = 16
"""Feeds of up to this many tokens are decoding, longer ones are pieces of a past that is read."""


def _reads(feeds: Sequence[Feed]) -> bool:
    """Whether they read a past; by their targets too: pieces of one that is scored may be as short as drafts."""
    return any(feed.targets or len(feed.tokens) > _SHORT for feed in feeds)


class Waiting(Generic[T]):
    """First come, first served; ``most`` wait at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def require_room(self, items: int, free: int) -> None:
        """Raise Overloaded if ``items`` more, of which ``free`` can start at once, do not fit."""
        # A request is taken whole or not at all, though its texts wait one by one.
        if len(self._queue) + items > self._most + free:
            raise Overloaded(
                f"{len(self._queue)} texts wait already and at most {self._most} may, so {items} more find no room; ask"
                " again in a few seconds"
            )

    def add(self, item: T) -> None:
        """Last in the queue."""
        self._queue.append(item)

    def take(self) -> T:
        """The first of the queue."""
        return self._queue.popleft()

    def remove(self, unwanted: Callable[[T], bool]) -> None:
        """Take those out that are not wanted any more."""
        self._queue = deque(item for item in self._queue if not unwanted(item))


class Slots:
    """Numbers 0 to n - 1; the one given back last is taken first, and before that the lowest."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count - 1, -1, -1))

    @property
    def free(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self) -> int:
        """A free slot."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        """A slot that was taken is free again."""
        assert slot not in self._free
        self._free.append(slot)


def chosen(asks: Iterable[tuple[T, Sequence[Feed]]], budget: int) -> list[T]:
    """Who is served in this step, of those that ask, oldest first.

    All who decode; and of those who read a past (a prompt, or what a dropped expert has missed), as many as ``budget``
    tokens allow, the first in any case: so the time between two tokens of a text is bounded whatever others have to
    read, and nobody waits for ever.
    """
    served = []
    read = 0
    for who, feeds in asks:
        if not _reads(feeds):
            served.append(who)
            continue
        tokens = sum(len(feed.tokens) for feed in feeds)
        # Later ones that are smaller may still fit: what is left of the budget is not wasted.
        if read == 0 or read + tokens <= budget:
            served.append(who)
            read += tokens
    return served
