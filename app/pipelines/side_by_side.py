"""Small files that the driver reads, side by side: on a remote store each is a wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

_READERS = 8
_AHEAD = 16 * _READERS
"""Answers that are held before they are asked for."""


def each(read: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
    """What ``read`` gives for each item, in order."""
    with ThreadPoolExecutor(_READERS) as pool:
        # A pool takes all that it is given at once, and holds every answer that is not asked for yet.
        for start in range(0, len(items), _AHEAD):
            yield from pool.map(read, items[start : start + _AHEAD])
