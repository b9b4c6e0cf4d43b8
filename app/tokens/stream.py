"""The training text of one language as one endless stream, epoch after epoch, and the rows that it is cut into.

An epoch goes through the parts in an order drawn for it. Parts that follow each other make a window of bounded bytes;
within a window the documents are shuffled, and the rows that start in it. So an epoch opens each part for one stretch
of rows, and what is held at once does not grow with the corpus. Row r covers the tokens r L to (r + 1) L of the stream,
the last of them the first of the next row: L predictions, and every token but the stream's first is predicted once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.core.records import Array, IntArray
from app.core.seeding import generator
from app.tokens.counts import PartCount
from app.tokens.dataset import TokenCorpus


@dataclass(frozen=True)
class Chosen:
    """Some of the training documents. ``documents``: (language, part) -> ascending places in the part; ``tokens``:
    language -> (parts,) how many tokens those of each part have, which is asked for before any part is read.
    """

    documents: Callable[[str, PartCount], IntArray]
    tokens: Callable[[str], IntArray]


WINDOW_BYTES = 64 << 20
# A window's parts are open and, of a remote store, fetched together: small ones are bounded by number.
WINDOW_PARTS = 32
# A row may run on from its window into those that follow.
_HELD_WINDOWS = 3


@dataclass(frozen=True)
class _Epoch:
    """``parts``: of each window. ``starts``: tokens of the epoch before each window, and in all."""

    parts: tuple[IntArray, ...]
    starts: IntArray


@dataclass(frozen=True)
class _Window:
    """Documents in the order of the stream: where each starts in the window (and the end), its part, its offset there.

    ``rows``: the rows that start in this window, in the order in which they are given out, from ``first_row`` on.
    """

    starts: IntArray
    part: IntArray
    offset: IntArray
    first_row: int
    rows: IntArray


class LanguageStream:
    """The stream of one language. ``tokens``: of an epoch. chosen: restricts it to some documents."""

    def __init__(self, corpus: TokenCorpus, lang: str, length: int, seed: int, chosen: Chosen | None = None) -> None:
        self._corpus, self._lang, self._length, self._seed, self._chosen = corpus, lang, length, seed, chosen
        self._parts = corpus.counts.parts(lang, "train")
        every = np.asarray([part.tokens for part in self._parts], dtype=np.int64)
        self._part_tokens = every if chosen is None else chosen.tokens(lang)
        self.tokens = int(self._part_tokens.sum())
        # Two, since the last row of an epoch may run on into the next.
        self._epoch = functools.lru_cache(maxsize=2)(self._read_epoch)
        self._window = functools.lru_cache(maxsize=_HELD_WINDOWS)(self._read_window)
        self._reading = (-1, -1)

    def read(self, ordinal: int, out: IntArray) -> None:
        """Write the tokens of the row that is given out as number ``ordinal`` into ``out``, (length + 1,)."""
        epoch, number, _ = self._place(ordinal)
        self._expect(epoch, number)
        # As many rows are given out from a window as start in it: so the ordinal finds the window, and the window's
        # order says which row it is.
        window = self._window(epoch, number)
        epoch, number, position = self._place(int(window.rows[ordinal - window.first_row]))
        filled = 0
        while filled < len(out):
            filled += self._copy(self._window(epoch, number), position, out[filled:])
            number, position = number + 1, 0
            if number == len(self._epoch(epoch).parts):
                epoch, number = epoch + 1, 0

    def _expect(self, epoch: int, number: int) -> None:
        """Have the parts of a window fetched, and then those of the one that follows, when it is first read from."""
        if (epoch, number) != self._reading:
            self._reading = (epoch, number)
            then = (epoch, number + 1) if number + 1 < len(self._epoch(epoch).parts) else (epoch + 1, 0)
            now, soon = (
                [self._parts[part] for part in self._epoch(e).parts[n].tolist()] for e, n in ((epoch, number), then)
            )
            self._corpus.expect(self._lang, "train", now, soon)

    def _place(self, row: int) -> tuple[int, int, int]:
        """Epoch and window in which a row starts, and where in the window."""
        epoch, position = divmod(row * self._length, self.tokens)
        starts = self._epoch(epoch).starts
        number = int(np.searchsorted(starts, position, side="right")) - 1
        return epoch, number, position - int(starts[number])

    def _copy(self, window: _Window, position: int, out: IntArray) -> int:
        """Fill ``out`` from a place in a window, as far as the window goes; returns how many tokens that were."""
        document, filled = int(np.searchsorted(window.starts, position, side="right")) - 1, 0
        while filled < len(out) and document < len(window.part):
            start, end = window.starts[document : document + 2].tolist()
            count = min(end - position, len(out) - filled)
            at = int(window.offset[document]) + position - start
            ids = self._corpus.ids(self._lang, "train", self._parts[window.part[document]])
            out[filled : filled + count] = ids[at : at + count]
            filled, position, document = filled + count, position + count, document + 1
        return filled

    def _held(self, part: PartCount) -> Array:
        index = self._corpus.index(self._lang, "train", part)
        return index if self._chosen is None else index[self._chosen.documents(self._lang, part)]

    def _read_epoch(self, epoch: int) -> _Epoch:
        order = generator(self._seed, "parts", self._lang, epoch).permutation(len(self._parts))
        windows: list[list[int]] = []
        size = 0
        # A part without a chosen document is left out, so that no window is empty.
        for number in order[self._part_tokens[order] > 0].tolist():
            more = int(self._part_tokens[number]) * self._corpus.token_bytes
            if not windows or size + more > WINDOW_BYTES or len(windows[-1]) == WINDOW_PARTS:
                windows.append([])
                size = 0
            windows[-1].append(number)
            size += more
        parts = tuple(np.asarray(window, dtype=np.int64) for window in windows)
        ends = np.cumsum([int(self._part_tokens[window].sum()) for window in parts])
        return _Epoch(parts, np.concatenate([[0], ends]))

    def _read_window(self, epoch: int, number: int) -> _Window:
        plan = self._epoch(epoch)
        held = [self._held(self._parts[part]) for part in plan.parts[number].tolist()]
        part = np.repeat(plan.parts[number], [len(index) for index in held])
        order = generator(self._seed, "documents", self._lang, epoch, number).permutation(len(part))
        offset, length = (np.concatenate([index[name] for index in held])[order] for name in ("offset", "length"))
        begin, end = (epoch * self.tokens + int(plan.starts[n]) for n in (number, number + 1))
        # The rows r whose first token, r L, is in the window: both borders are rounded up.
        first, stop = -(-begin // self._length), -(-end // self._length)
        rows = first + generator(self._seed, "rows", self._lang, epoch, number).permutation(stop - first)
        return _Window(np.concatenate([[0], np.cumsum(length)]), part[order], offset, first, rows)
