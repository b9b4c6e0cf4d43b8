from __future__ import annotations

import logging
import re
import sys
import time

import pytest

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
