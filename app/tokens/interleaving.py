"""In which order the languages take turns: a function of a seed and the row's number, with nothing held for each row.

Row number k of a language's N stands at time (k - u) / N of the whole, u drawn once for the language; so at any time
each language has had its share, to a row. Time is cut into windows, and within a window the order is shuffled.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import IntArray
from app.core.seeding import generator

_WINDOW_ROWS = 4096
# u is counted in these, so that all borders are whole numbers: rounding would lose or repeat a row at some window.
_PHASES = 1 << 20


@dataclass(frozen=True)
class _Window:
    first: int
    language: IntArray
    ordinal: IntArray


class Interleaving:
    """Rows of several languages in one sequence. counts: rows of each language."""

    def __init__(self, counts: Sequence[int], seed: int) -> None:
        self._counts, self._seed, self._length = [int(count) for count in counts], seed, int(sum(counts))
        self._windows = max(1, -(-self._length // _WINDOW_ROWS))
        # u lies above 0 and up to 1: no row stands before time 0, and all N before time 1.
        self._phases = generator(seed, "phases").integers(1, _PHASES, len(self._counts), endpoint=True).tolist()
        # Held by the instance: a cache on the method would keep every instance alive.
        self._made = functools.lru_cache(maxsize=2)(self._make)
        self._last = self._made(0)

    def __len__(self) -> int:
        return self._length

    def at(self, i: int) -> tuple[int, int]:
        """The language of row i, by its place in ``counts``, and how many of its rows came before."""
        window = self._last
        if not window.first <= i < window.first + len(window.language):
            # Windows are equal in time and not in rows, so the one that holds row i is searched for.
            number = bisect_right(range(self._windows), i, key=lambda w: sum(self._before(w))) - 1
            window = self._last = self._made(number)
        return int(window.language[i - window.first]), int(window.ordinal[i - window.first])

    def _before(self, window: int) -> list[int]:
        """Rows of each language before a window: those k with (k - u) / N < window / windows, in whole numbers."""
        return [
            # In Python's integers: these products go beyond 64 bits.
            (window * count * _PHASES + phase * self._windows - 1) // (_PHASES * self._windows)
            for count, phase in zip(self._counts, self._phases, strict=True)
        ]

    def _make(self, window: int) -> _Window:
        before = np.asarray(self._before(window), dtype=np.int64)
        counts = np.asarray(self._before(window + 1), dtype=np.int64) - before
        language = np.repeat(np.arange(len(counts)), counts)
        generator(self._seed, "languages", window).shuffle(language)
        ordinal = np.zeros(len(language), dtype=np.int64)
        for number, (count, start) in enumerate(zip(counts.tolist(), before.tolist(), strict=True)):
            ordinal[language == number] = np.arange(start, start + count)
        return _Window(int(before.sum()), language, ordinal)
