from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.pipelines import confusion
from app.pipelines.confusion import judged, write_missing
from app.pipelines.sample import Beginning
from tests.app.evaluation.test_confusion import by_first_letter


def test_a_file_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    folder, asked = Folder(str(tmp_path)), []
    beginnings = {lang: [Beginning(lang, "expert-00", [1, 2], "Am ", "Montag")] for lang in ("de", "en")}

    def write(prompts: object) -> list[dict[str, object]]:
        asked.append(prompts)
        return [{"text": "Ende", "ended": True, "tokens": 3}]

    write_missing(folder, "dense", {"de": beginnings["de"]}, write)  # type: ignore[arg-type]
    before = (tmp_path / "written/dense/de.json").read_bytes()
    write_missing(folder, "dense", beginnings, write)  # type: ignore[arg-type]
    assert asked == [beginnings["de"], beginnings["en"]]
    assert (tmp_path / "written/dense/de.json").read_bytes() == before
    row = folder.read_json("written/dense/en.json")
    assert row["tokens"] == 3 and row["texts"] == [{"prompt": "Am ", "text": "Ende", "ended": True, "tokens": 3}]


def test_languages_that_the_identifier_does_not_know_are_counted_but_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(text: str, among: Collection[str]) -> tuple[str, float] | None:
        assert set(among) == {"de", "ru"}
        found = by_first_letter(text)
        return (found, 1.0) if found else None

    monkeypatch.setattr(confusion, "known_languages", lambda: frozenset({"de", "ru", "fr"}))
    monkeypatch.setattr(confusion, "most_likely", known)
    folder, said = Folder(str(tmp_path)), {"de": "Montag", "ru": "понедельник\nMonday", "und": "Montag"}
    for lang, text in said.items():
        texts = [{"prompt": "", "text": text, "ended": False, "tokens": 2}]
        folder.write_json(
            f"written/dense/{lang}.json",
            {"system": "dense", "lang": lang, "tokens": 2, "seconds": 0.5, "texts": texts},  # type: ignore[dict-item]
        )
    row = judged(folder, ["dense"], ["de", "ru", "und"])["dense"]
    assert isinstance(row, dict) and row["und"] == {"tokens": 2, "seconds": 0.5}
    assert (row["de"]["lines_right"], row["de"]["passed_words"]) == (1, 0)  # type: ignore[index,call-overload]
    assert (row["ru"]["lines"], row["ru"]["lines_right"], row["ru"]["passed"]) == (2, 1, 0)  # type: ignore[index,call-overload]
