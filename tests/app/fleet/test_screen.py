from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest

from app.fleet import screen
from app.fleet.screen import InPlace, above_lines


class Terminal(io.StringIO):
    """What is to be seen: knows the two sequences that are used, and wraps at so many columns."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self._columns, self._rows = columns, rows
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        for piece in re.findall(r"\x1b\[\d*[FJ]|[^\x1b\n]*\n", text):
            if piece.endswith("F") and piece.startswith("\x1b"):
                up = int(piece[2:-1])
                # Nothing above the top of the window can be reached.
                assert up <= self._rows - 1
                self._below = len(self.lines) - up
            elif piece == "\x1b[J":
                del self.lines[self._below :]
            else:
                line = piece[:-1]
                self.lines += [line[at : at + self._columns] for at in range(0, max(1, len(line)), self._columns)]
        return len(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal(20, 6)
    # Not sys.stderr itself: pytest puts its own there when the test begins.
    monkeypatch.setattr(screen, "sys", SimpleNamespace(stderr=made))
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setattr(screen.InPlace, "shown", None)
    return made


def test_lines_replace_those_before_also_where_they_are_longer_or_fewer(terminal: Terminal) -> None:
    shown = InPlace()
    shown.replace(["a" * 30, "b", "c"])
    shown.replace(["d"])
    assert terminal.lines == ["d"]
    shown.replace(["e" * 30, "f"])
    assert terminal.lines == ["e" * 19, "f"]


def test_what_is_logged_stands_above_and_stays(terminal: Terminal) -> None:
    shown = InPlace()
    shown.replace(["a", "b"])
    with above_lines():
        terminal.write("failed: no disk\n")
    assert terminal.lines == ["failed: no disk", "a", "b"]
    shown.replace(["c", "d"])
    assert terminal.lines == ["failed: no disk", "c", "d"]
    shown.leave()
    with above_lines():
        terminal.write("done\n")
    assert terminal.lines == ["failed: no disk", "c", "d", "done"]


def test_of_more_lines_than_there_is_room_the_first_are_shown_and_the_others_counted(terminal: Terminal) -> None:
    shown = InPlace()
    for _ in range(3):
        shown.replace([str(number) for number in range(9)])
    assert terminal.lines == ["0", "1", "2", "... and 6 more"]


def test_a_second_board_begins_below_the_first(terminal: Terminal) -> None:
    first, second = InPlace(), InPlace()
    first.replace(["a"])
    second.replace(["b"])
    second.replace(["c"])
    assert terminal.lines == ["a", "c"]
