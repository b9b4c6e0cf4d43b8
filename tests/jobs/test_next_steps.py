from __future__ import annotations

import shlex
import sys

import pytest

from jobs.next_steps import Typed, after_all, as_lines

WORDS = ("--preset", "laptop", "--set", "corpus.path=/data/my text", "--set", "run.name=mine")


def test_the_users_own_settings_are_kept_word_for_word() -> None:
    steps = after_all(Typed(WORDS, "mine", "/data/store", "files", "typological"))
    for what in ("another cut", "export"):
        assert shlex.split(steps[what])[3 : 3 + len(WORDS)] == list(WORDS)
    assert shlex.split(steps["another cut"])[-3:] == ["allocation.strategy=tfidf", "--set", "run.name=mine-tfidf"]
    assert "run=mine root=/data/store" in steps["serve"] and "own text" not in steps


def test_another_cut_is_another_one() -> None:
    assert "strategy=typological" in after_all(Typed(WORDS, "mine", "a", "files", "tfidf"))["another cut"]


def test_after_the_demo_ones_own_text_is_next() -> None:
    steps = after_all(Typed((), "demo", "artifacts", "almanac", "typological"))
    assert "--preset laptop" in steps["own text"] and steps["export"].endswith("-m jobs.export")


def test_a_program_below_this_folder_is_shown_as_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = tmp_path_factory.mktemp("project")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "executable", str(here / ".venv/bin/python"))
    assert after_all(Typed((), "demo", "artifacts", "almanac", "x"))["export"] == ".venv/bin/python -m jobs.export"


def test_lines_are_aligned() -> None:
    lines = as_lines({"a": "x y", "long name": "z"}).splitlines()
    assert [line.index(word) for line, word in zip(lines, ("x y", "z"), strict=True)] == [22, 22]
