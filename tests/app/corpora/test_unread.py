from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import CorpusError
from app.corpora.base import SourceFile, Unread
from app.corpora.unread import OTHER_LANGUAGE, STRANGE_NAME, UNKNOWN_KIND, refuse_most_unread, sift, tell_unread

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"


def test_pointers_and_empty_files_are_sifted_out_with_the_bytes_that_are_missing(tmp_path: Path) -> None:
    contents = {"pointer": POINTER, "empty": "", "text": '{"text": "version https://git-lfs.github.com/spec/v1"}'}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    files = [SourceFile(str(tmp_path / name), size_bytes=len(content)) for name, content in contents.items()]
    kept, unread = sift(files)
    assert [Path(file.uri).name for file in kept] == ["text"]
    assert [(Path(file.name).name, file.size_bytes, file.is_loss) for file in unread] == [
        ("pointer", 12345, True),
        ("empty", 0, False),
    ]


def test_every_reason_has_its_line_and_losses_come_first() -> None:
    unread = [Unread("x", "hidden"), *(Unread(f"{n}.csv", "no known kind", 1, is_loss=True) for n in range(5))]
    assert tell_unread(unread) == [
        "not read: 5 files: no known kind (0.csv, 1.csv, 2.csv and 2 more)",
        "not read: 1 file: hidden (x)",
    ]


def test_files_of_other_languages_share_one_line_that_says_what_each_was_taken_for() -> None:
    taken = ["de by file name", "bg by folder bg", "de by file name"]
    unread = [Unread(f"{n}.jsonl", OTHER_LANGUAGE, taken_for=meaning) for n, meaning in enumerate(taken)]
    assert tell_unread(unread) == [
        "not read: 3 files: their language is not one of corpus.languages (1 bg by folder bg, 2 de by file name)"
    ]


def test_what_is_left_on_purpose_is_never_too_much() -> None:
    read = [SourceFile("a", size_bytes=10)]
    refuse_most_unread("place", read, [Unread("b", "test split", 1000)] * 5)
    refuse_most_unread("place", read, [Unread("b", "no kind", 10, is_loss=True)])
    with pytest.raises(CorpusError, match=r"^place: most of it would not be read: 1 file with 11 B, against 1 files"):
        refuse_most_unread("place", read, [Unread("b", "no kind", 11, is_loss=True)])


@pytest.mark.parametrize("why", [UNKNOWN_KIND, STRANGE_NAME])
def test_many_small_files_of_what_may_be_no_text_are_judged_by_their_bytes_alone(why: str) -> None:
    read = [SourceFile("a", size_bytes=10)]
    refuse_most_unread("place", read, [Unread(f"{n}", why, 2, is_loss=True) for n in range(5)])
    with pytest.raises(CorpusError, match="5 files"):
        refuse_most_unread("place", read, [Unread(f"{n}", "broken", 2, is_loss=True) for n in range(5)])
