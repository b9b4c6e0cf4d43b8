from __future__ import annotations

import math

import pytest

from app.core.records import JsonObject
from app.reporting.comparison import HEADER, ComparedRun, comparison_rows, comparison_sections
from app.reporting.html import render_comparison
from tests.support.summary import SUMMARY, headline, texts


def run(name: str, change: float, seed: int, **allocation: object) -> ComparedRun:
    summary: JsonObject = {**SUMMARY, **headline(change), "k": 2, "allocation": "tfidf", "tokens_total": 1000}
    summary |= {"languages_compared": 2, "wins_over_dense": 1, "clear_wins_over_dense": 1, "clear_losses_to_dense": 0}
    config: JsonObject = {"run": {"name": name, "seed": seed}, "artifacts": {"root": name}}
    return ComparedRun(name, summary, {**config, "allocation": {"k": 2, **allocation}})  # type: ignore[dict-item]


def test_each_run_is_a_row_with_its_headline() -> None:
    (row,) = comparison_rows([run("a", -0.05, 3)])
    assert len(row) == len(HEADER)
    assert row[:8] == ["a", "tfidf", "2", "3", "1k", "1 of 2", "1", "0"] and row[8].startswith("-5.00% [")


def test_runs_that_differ_in_their_seed_alone_are_one_result() -> None:
    runs = [run("a", -0.05, 1), run("b", -0.09, 2), run("c", 0.5, 2, strategy="random")]
    titles = [section.title for section in comparison_sections(runs)]
    assert titles == ["Runs", "Several training seeds", "What differs"]
    (row,) = texts(comparison_sections(runs)[1])
    mean = math.sqrt(0.95 * 0.91) - 1  # the mean of logs
    assert row == ["a, b", "2", f"{mean:+.2%}", "-9.00%", "-5.00%"]


def test_what_differs_is_shown_and_names_and_places_are_not() -> None:
    rows = texts(comparison_sections([run("a", -0.05, 1), run("b", -0.05, 1, strategy="random")])[-1])
    assert rows == [["allocation.strategy", "–", "random"]]


def test_the_page_names_the_store_and_every_run() -> None:
    html = render_comparison("s3://u:secret@bucket/x", [run("a<b", -0.05, 1)], {"page made": "today"})
    assert "1 finished runs" in html and "a&lt;b" in html and "today" in html and "secret" not in html


@pytest.mark.parametrize("runs", [[run("a", 0.0, 1)], [run("a", 0.0, 1), run("b", 0.0, 1)]])
def test_what_has_nothing_to_say_is_left_out(runs: list[ComparedRun]) -> None:
    assert [section.title for section in comparison_sections(runs)] == ["Runs"]
