from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.core.records import Document
from app.corpora.base import Reject, SourceFile, Survey, Unread, document_id
from app.corpora.losses import PoorFile
from app.corpora.shards import shard_file
from app.pipelines import data_card
from app.pipelines.data_card import DataCard, make_card, read_card, tell_card, tell_survey


def _card(place: Path, *contents: tuple[str, list[str]]) -> tuple[DataCard, list[PoorFile]]:
    """Of files of the given split and texts, all German, each with one row that cannot be read."""
    files = [SourceFile(f"file-{number}", "de", split, 100) for number, (split, _) in enumerate(contents)]
    for number, (_, texts) in enumerate(contents):
        rows = [Document(document_id("de", text), "de", text, "", "") for text in texts]
        shard_file([*rows, Reject("x", 1, "bad_json", "{")], files[number], number, Folder(str(place)), 0.0, 1000)
    survey = Survey(unread=(Unread("b.csv", "no kind"),))
    return make_card(Folder(str(place)), dict(enumerate(files)), survey, frozenset({"fr"}), lambda *_: {"de": (3, 2)})


def test_counts_of_all_files_are_added_up(tmp_path: Path) -> None:
    card, _ = _card(tmp_path, ("train", ["a", "b", "a", "a"]), ("validation", ["b", "b", "c"]), ("train", ["b"]))
    assert card.duplicates == {"de": 3} and card.held_out_in_training == {"de": 2}  # as it was told
    assert card.documents == {"de/train": 5, "de/validation": 3}
    assert card.rejects == {"bad_json": 3} and card.rejects_by_language == {"de": {"bad_json": 3}}
    assert card.languages_not_identified == ("de",)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    card, poor = _card(tmp_path, ("train", ["a"]), ("validation", []))
    assert read_card(Folder(str(tmp_path))) == card and list(card.poor_files) == poor and len(poor) == 1


def test_the_card_names_the_first_poor_files_and_all_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(data_card, "_NAMED", 2)
    card, poor = _card(tmp_path, *[("train", [])] * 25, ("validation", ["a"]))
    assert len(card.poor_files) == 2 and len(poor) == 25
    tell_card(card, poor, "store/rejects")
    assert "poor file and 5 more files, the data card names the first 2 of all" in caplog.messages


def test_the_terminal_is_told_all_that_the_card_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tell_survey(Survey(("2 files to read",), (Unread("b.csv", "no kind"),)))
    tell_card(*_card(tmp_path, ("train", ["a"]), ("validation", ["a"]), ("train", [])), "store/rejects")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        "2 files to read",
        "2 documents in 1 languages: de",
    ]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned[:3] == [
        "not read: 1 file: no kind (b.csv)",
        "3 rows are not used: bad_json 3; samples in store/rejects",
        "poor file file-2: no document; bad_json 1 (row 1: {)",
    ]
    assert warned[3].startswith("held-out documents whose very text is trained on too: de 2 of 1;")
