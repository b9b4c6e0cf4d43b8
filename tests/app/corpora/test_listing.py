from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.core.errors import CorpusError
from app.corpora.listing import Listing, list_files


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def _names(listing: Listing) -> list[str]:
    return [file.name.as_posix() for file in listing.files]


def test_links_to_folders_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    _touch(tmp_path, "corpus/de/a", "elsewhere/deep/b")
    (tmp_path / "corpus/aa").symlink_to(tmp_path / "corpus/de")  # sorted before what it names
    (tmp_path / "corpus/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "elsewhere/deep")
    (tmp_path / "corpus/de/up").symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus/out").symlink_to(tmp_path)
    listing = list_files(str(tmp_path / "corpus"))
    assert _names(listing) == ["de/a", "more/deep/b"]
    assert {file.name: file.why for file in listing.unread} == {
        "aa": "a link to a folder that is read already",
        "de/up": "a link to a folder that is read already",
        "more/back": "a link to a folder that is read already",
        "out": "a link to a folder that it lies in",
    }


def test_a_file_is_listed_once_and_a_broken_link_is_a_loss(tmp_path: Path) -> None:
    _touch(tmp_path, "b", ".git/x", ".hidden")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    listing = list_files(str(tmp_path))
    assert _names(listing) == ["b"]
    assert {file.name: (file.why.partition(":")[0], file.is_loss) for file in listing.unread} == {
        ".git": ("hidden", False),
        ".hidden": ("hidden", False),
        "a": ("a link to b, which is listed already", False),
        "gone": ("a broken link", True),
    }


def test_a_link_to_itself_is_a_broken_one(tmp_path: Path) -> None:
    _touch(tmp_path, "a")
    (tmp_path / "loop").symlink_to("loop")
    listing = list_files(str(tmp_path))
    assert _names(listing) == ["a"]
    assert [(file.name, file.is_loss) for file in listing.unread] == [("loop", True)]


def test_a_name_that_is_not_utf8_is_a_loss_with_its_bytes_written_out(tmp_path: Path) -> None:
    _touch(tmp_path, "de/a")
    strange = os.fsdecode(b"caf\xe9")
    (tmp_path / strange).mkdir()
    (tmp_path / strange / "b").write_text("twelve bytes")
    (tmp_path / strange / ".hidden").touch()
    listing = list_files(str(tmp_path))
    assert _names(listing) == ["de/a"]
    found = {file.name: (file.why, file.size_bytes, file.is_loss) for file in listing.unread}
    assert found == {
        "caf\\xe9/b": ("its name is not UTF-8: rename it, or its folder", 12, True),
        "caf\\xe9/.hidden": ("hidden", 0, False),
    }
    alone = os.fsdecode(b"\xe9.jsonl")
    (tmp_path / alone).write_text("twelve bytes")
    listing = list_files(str(tmp_path / alone))
    assert not listing.files and [file.name for file in listing.unread] == ["\\xe9.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*/*.jsonl", ["de/a.jsonl", "en/b.jsonl"]),
        ("**/*.jsonl", ["c.jsonl", "de/a.jsonl", "en/b.jsonl", "en/deep/d.jsonl"]),
        ("en/[ab].jsonl", ["b.jsonl"]),
        ("?n/*", ["en/b.jsonl"]),
        ("fr/*", []),
    ],
)
def test_patterns_match_as_in_a_shell(tmp_path: Path, pattern: str, names: list[str]) -> None:
    _touch(tmp_path, "c.jsonl", "de/a.jsonl", "en/b.jsonl", "en/deep/d.jsonl", "other.txt")
    assert _names(list_files(f"{tmp_path}/{pattern}")) == names


def test_a_home_and_a_relative_place_are_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "text/a")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "text")
    for place in ("~/text", "../text", "."):
        (file,) = list_files(place).files
        assert file.uri == str(tmp_path / "text/a")


def test_an_address_of_an_unknown_kind_says_so() -> None:
    with pytest.raises(CorpusError, match="nowhere"):
        list_files("nowhere://x")
