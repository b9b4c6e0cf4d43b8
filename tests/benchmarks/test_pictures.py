from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.core.errors import ConfigError
from app.core.records import JsonObject
from benchmarks.pictures import BEGIN, END, MOST_BYTES, results, with_results
from tests.support.source import ROOT
from tests.support.summary import SUMMARY, headline

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADLINE: JsonObject = {"k": 2, "allocation": "tfidf", "tokens_total": 1000, "languages_compared": 2}
HEADLINE |= {"wins_over_dense": 1, "clear_wins_over_dense": 1, "clear_losses_to_dense": 0}
HEADLINE |= headline(-0.05)


def test_the_readme_shows_a_runs_headline_and_every_language_between_its_marks() -> None:
    shown = results({**SUMMARY, **HEADLINE}, "2026-11-25")
    made = with_results(f"top {BEGIN} old {END} bottom", shown)
    assert made.startswith(f"top {BEGIN}\n") and made.endswith(f"{END} bottom") and " old " not in made
    assert "`make demo`, 2026-11-25: X-ELM (tfidf, k = 2)" in made and "| ar |" in made and "| de |" in made
    assert with_results(made, shown) == made


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ConfigError, match="lacks the marks"):
        with_results("no marks", "x")


def test_the_readme_has_results_with_their_command_and_date_and_pictures_that_are_there_and_small() -> None:
    shown = README.partition(BEGIN)[2].partition(END)[0]
    assert re.search(r"`make demo`, \d{4}-\d\d-\d\d: X-ELM .*mean change [-+]\d", shown)
    pictures = re.findall(r"!\[[^\]]+\]\((docs/pictures/[^)]+)\)", README)
    assert {Path(name).name for name in pictures} == {"page.png", "playground.png", "tree.png"}
    for name in pictures:
        assert (ROOT / name).read_bytes().startswith(b"\x89PNG") and (ROOT / name).stat().st_size < MOST_BYTES
