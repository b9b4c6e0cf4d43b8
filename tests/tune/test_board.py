from __future__ import annotations

import io
import logging

import pytest

from app.config.load import load_config
from app.fleet.fleet import plan_fleet
from tune.board import TrialBoard
from tune.space import Outcome, trial_of

CONFIG = load_config("demo", overrides=["run.name=s", "sweep.k=2,4"])


def outcomes() -> list[Outcome]:
    return [Outcome(trial_of(CONFIG, {"k": k})) for k in (2, 4)]


def test_while_models_train_each_trial_says_how_many_of_its_models_are_done() -> None:
    board = TrialBoard(outcomes())
    assert board.lines() == ["k=2  waiting", "k=4  waiting"]
    board.needs("s.k-2", ["dense", "a"])
    board.needs("s.k-4", ["dense", "b", "c"])
    fleet = plan_fleet([(key, 1, False) for key in ("dense", "a", "b", "c")], 0)
    fleet = fleet.started("dense").started("a").done("dense").started("b").failed("b", "x")
    assert board.lines(fleet) == [
        "k=2  training    1 of 2 models, 1 running",
        "k=4  training    1 of 3 models, 1 failed",
    ]


def test_elsewhere_than_on_a_terminal_only_the_trial_that_changed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    first, second = trials = outcomes()
    board = TrialBoard(trials)
    with caplog.at_level(logging.INFO):
        board.begun("s.k-2")
        first.status, first.figures = "finished", {"mean_log_ratio": -0.05, "wins": 3, "languages": 4}
        board.ended("s.k-2")
        second.status, second.reason = "failed", "no text"
        board.ended("s.k-4")
    assert [record.message for record in caplog.records] == [
        "sweep: k=2  evaluating",
        "sweep: k=2  finished    -4.88%, wins 3 of 4",
        "sweep: k=4  failed      no text",
    ]


def test_on_a_terminal_the_table_stays_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    board = TrialBoard(outcomes())
    board.begun("s.k-2")
    board.begun("s.k-4")
    assert terminal.getvalue().split("\x1b[2F\x1b[J") == [
        "k=2  evaluating\nk=4  waiting\n",
        "k=2  evaluating\nk=4  evaluating\n",
    ]
