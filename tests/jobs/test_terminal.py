from __future__ import annotations

import logging
import re
import sys
import time

import pytest

from app.fleet.screen import InPlace
from jobs import terminal
from jobs.terminal import signs_of_life


def test_silence_is_broken_and_names_what_was_last_said(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), signs_of_life(0.2):
        print("12:00:00 tokenize: 3/9 parts", file=sys.stderr)
        time.sleep(0.9)
    said = [record.getMessage() for record in caplog.records]
    assert said and all(re.fullmatch(r"still working, \d+s since: tokenize: 3/9 parts", line) for line in said)
    assert "tokenize: 3/9 parts" in capsys.readouterr().err


def test_nothing_is_added_while_something_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), signs_of_life(0.5):
        for number in range(8):
            print(f"12:00:00 {number}", file=sys.stderr)
            time.sleep(0.1)
    assert not caplog.records


def test_a_log_line_stands_above_the_lines_that_are_shown_in_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InPlace, "shown", None)
    handler = terminal._ToStderr()
    board = InPlace()
    board.replace(["a model"])
    handler.emit(logging.makeLogRecord({"msg": "a failure"}))
    board.leave()
    assert capsys.readouterr().err.split("\x1b[1F\x1b[J") == ["a model\n", "a failure\na model\n"]
