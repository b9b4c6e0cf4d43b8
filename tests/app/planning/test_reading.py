from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import CorpusError
from app.planning.plan import make_plan
from app.planning.reading import forecast_reading


def _mc4(root: Path, **sizes: list[int]) -> None:
    for lang, each in sizes.items():
        for number, size in enumerate(each):
            (root / f"c4-{lang}.tfrecord-{number:05d}-of-{len(each):05d}.json.gz").write_bytes(bytes(size))
        (root / f"c4-{lang}-validation.tfrecord-00000-of-00001.json.gz").write_bytes(bytes(50))


def _forecast(root: Path, *more: str) -> dict[str, Any]:
    """A budget of 3200 tokens in two languages: 4 x 1600 / 4 = 1600 bytes of text of each."""
    where = (f"corpus.path={root}", "corpus.languages=de,sw", "training.budget_tokens=3200")
    rates = ("planning.text_bytes_per_token=4", "planning.text_per_byte=2", "corpus.mixture_max_epochs=4")
    return dict(forecast_reading(load_config("paper-k4", overrides=[*where, *rates, *more])))


def test_files_and_bytes_of_each_language_by_hand(tmp_path: Path) -> None:
    _mc4(tmp_path, de=[500, 500, 500, 500], sw=[300, 300])
    reading = _forecast(tmp_path)
    # de: 1000 of 1600 by the first file, so one more; sw: 600, then two more, and there is but one
    assert reading["needed_bytes"] == 1600 and reading["files"] == 3 + 3
    assert reading["languages"] == {
        "de": {"files": 3, "of": 5, "stored_bytes": 1050, "text_bytes": 2000, "is_short": False},
        "sw": {"files": 3, "of": 3, "stored_bytes": 650, "text_bytes": 1200, "is_short": True},
    }
    assert reading["stored_bytes"] == 1700


def test_without_a_bound_all_files_are_read(tmp_path: Path) -> None:
    _mc4(tmp_path, de=[500, 500, 500, 500], sw=[300, 300])
    reading = _forecast(tmp_path, "corpus.enough_for_budget=false")
    assert reading["needed_bytes"] is None and reading["files"] == 8


def test_plain_files_are_text_and_those_of_no_language_are_read(tmp_path: Path) -> None:
    for name, size in {"de/a.jsonl": 900, "de/b.jsonl": 900, "de/c.jsonl": 900, "x.jsonl": 70}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    reading = _forecast(tmp_path, "corpus.source=files", "corpus.languages=de")
    assert reading["needed_bytes"] == 3200  # one language has the whole budget
    assert {lang: found["files"] for lang, found in reading["languages"].items()} == {"(in the rows)": 1, "de": 3}


def test_the_plan_says_it_where_it_is_asked_to_list_the_corpus(tmp_path: Path) -> None:
    _mc4(tmp_path, de=[500, 500, 500, 500], sw=[300, 300])

    def plan(*more: str) -> dict[str, Any]:
        where = (f"corpus.path={tmp_path}", "corpus.languages=de,sw", "allocation.k=2")
        return dict(make_plan(load_config("paper-k4", overrides=[*where, *more]), Store(str(tmp_path))))

    assert "reading" not in plan()
    text = plan("planning.files=true")["text"]
    assert "language  files  of  as stored  text, about" in text and "together      8   8" in text
    assert "all files of de, sw hold less, so they are seen more often" in " ".join(text.split())
    with pytest.raises(CorpusError, match="'fr'"):
        plan("planning.files=true", "corpus.languages=de,fr")
