"""Lines at the bottom of a terminal that are replaced in place, while a log goes on above them."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Held by whoever writes to the terminal: the board's thread and those that log.
_writing = threading.RLock()


class InPlace:
    """Lines over those that were shown before. One is shown at a time; the newest takes over."""

    shown: InPlace | None = None

    def __init__(self) -> None:
        self._height = 0
        self._lines: list[str] = []

    def replace(self, lines: Sequence[str]) -> None:
        """Show these in their place, as many and as much of each as the terminal has room for."""
        with _writing:
            if InPlace.shown is not self and InPlace.shown is not None:
                InPlace.shown.leave()
            InPlace.shown = self
            self._lines = list(lines)
            self._draw()

    def leave(self) -> None:
        """What is shown stays above all that follows."""
        with _writing:
            self._height = 0
            if InPlace.shown is self:
                InPlace.shown = None

    def _draw(self) -> None:
        size = shutil.get_terminal_size()
        # A line that wraps, or one more than the terminal has, could not be reached again from below.
        room, columns = max(1, size.lines - 2), max(1, size.columns - 1)
        lines = self._lines
        if len(lines) > room:
            lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"]
        self._erase()
        sys.stderr.write("".join(f"{line[:columns]}\n" for line in lines))
        self._height = len(lines)

    def _erase(self) -> None:
        # F: to the start of the line so many above; J: empty all from there on.
        if self._height:
            sys.stderr.write(f"\x1b[{self._height}F\x1b[J")
            self._height = 0


@contextmanager
def above_lines() -> Iterator[None]:
    """What is written to stderr meanwhile stands above the lines that are shown, if any."""
    with _writing:
        shown = InPlace.shown
        if shown is not None:
            shown._erase()
        try:
            yield
        finally:
            if shown is not None:
                shown._draw()
