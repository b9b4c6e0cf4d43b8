from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from app.ensemble.text_output import Step, TextOutput

WEIGHTS = np.ones(1)


class Script:
    """A decoder that gives prepared pieces."""

    def __init__(self, pieces: Sequence[str], left: str = "") -> None:
        self._pieces: Iterator[str] = iter(pieces)
        self._left = left

    def step(self, token: int) -> str:
        """The next piece."""
        return next(self._pieces)

    def flush(self) -> str:
        """What is left."""
        return self._left


def released(pieces: Sequence[str], stops: Sequence[str], left: str = "") -> list[str]:
    """Text that comes out after each token and at the end."""
    output = TextOutput(Script(pieces, left), stops)
    texts = []
    for token in range(len(pieces)):
        output.push(Step(token, WEIGHTS))
        texts.append("".join(step.piece for step in output.release()))
        if output.stopped:
            return texts
    return [*texts, "".join(step.piece for step in output.finish())]


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["ab", "c"], [], ["ab", "c", ""]),
        (["", "", "\u4e2d"], [], ["", "", "\u4e2d", ""]),
        (["one", " tw", "o", " x"], [" two"], ["one", "", ""]),  # found: nothing of it is shown
        (["one", " tw", "in"], [" two"], ["one", "", " twin", ""]),  # it could have been one
        (["a\n", "b\n", "\nc"], ["\n\n"], ["", "a\n", "b"]),
        (["abcd"], ["cd", "b"], ["a"]),  # the first in the text counts
        (["ab", "END"], ["END"], ["ab", ""]),
        (["E", "N"], ["END"], ["", "", "EN"]),  # what was held comes at the end
    ],
)
def test_text_comes_out_as_soon_as_no_stop_string_can_begin_in_it(
    pieces: list[str], stops: list[str], expected: list[str]
) -> None:
    assert released(pieces, stops) == expected


def test_bytes_that_never_become_a_character_come_with_the_last_token() -> None:
    assert released(["a", "", ""], [], left="\ufffd\ufffd") == ["a", "", "", "\ufffd\ufffd"]


def test_every_token_comes_out_once_with_its_piece() -> None:
    output = TextOutput(Script(["x", "", "y", "st", "op"]), ["stop"])
    steps = []
    for token in range(5):
        output.push(Step(token, WEIGHTS))
        steps += output.release()
    assert [(step.token, step.piece) for step in steps] == [(0, "x"), (1, ""), (2, "y")]
    assert output.stopped
