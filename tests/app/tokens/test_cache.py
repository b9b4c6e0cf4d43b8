from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.artifacts.store import Folder, Store
from app.core.errors import StorageError
from app.tokens import stream
from app.tokens.cache import PartCache
from app.tokens.dataset import TokenCorpus
from app.tokens.rows import BlockDataset
from tests.support.token_store import numbered, write_corpus

PARTS = 24
TEXT = {lang: [[40, 25, 35]] * PARTS for lang in ("de", "fr")}
IDS_BYTES = 200


def bytes_in(place: Path) -> int:
    """Of whole files and of those that are on their way, counted while none comes or goes."""
    with contextlib.ExitStack() as stack:
        for found in place.rglob(".lock"):
            fcntl.flock(stack.enter_context(found.open("rb")), fcntl.LOCK_EX)
        return sum(
            path.stat().st_size
            for path in place.rglob("*")
            if path.name != ".lock" and path.suffix in (".bin", ".npy", "", ".reserved") and path.is_file()
        )


def rows_of(corpus: TokenCorpus) -> BlockDataset:
    return BlockDataset(corpus, {"de": 0.5, "fr": 0.5}, 10, 960, seed=3)  # two epochs


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A remote store whose corpus is larger than what the machine may keep of it."""
    monkeypatch.setattr(stream, "WINDOW_BYTES", 2 * IDS_BYTES)
    store = Store(f"memory://{tmp_path}", str(tmp_path / "cache"), 12 * (IDS_BYTES + 384))
    write_corpus(store.stage("tokens", "k"), numbered(TEXT))
    return store


def test_rows_are_the_same_from_local_files_and_through_a_small_cache_that_is_full_or_empty(
    store: Store, tmp_path: Path
) -> None:
    local = rows_of(write_corpus(tmp_path / "local", numbered(TEXT))).rows(0, 960)
    most = 0
    for first in (0, 0, 500):  # with an empty cache, with what is left in it, and from the middle
        remote = rows_of(TokenCorpus.open(store.stage("tokens", "k")))
        for start in range(first, 960, 20):
            assert (remote.rows(start, min(start + 20, 960)) == local[start : start + 20]).all()
            most = max(most, bytes_in(tmp_path / "cache"))
    assert 0 < most <= store.cache_bytes < bytes_in(tmp_path / "local") / 1.5


def test_each_part_is_fetched_about_once_an_epoch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    fetch = Folder.fetch

    def counted(folder: Folder, name: str, target: Path) -> None:
        fetched.append(name)
        fetch(folder, name, target)

    monkeypatch.setattr(Folder, "fetch", counted)
    rows_of(TokenCorpus.open(store.stage("tokens", "k"))).rows(0, 480)
    assert 2 * 2 * PARTS <= len(fetched) <= 1.15 * 2 * 2 * PARTS


def folder_of_three(tmp_path: Path, limit: int) -> Folder:
    remote = Folder(f"memory://{tmp_path}", str(tmp_path / "cache"), cache_bytes=limit)
    for name in ("a", "b", "c"):
        remote.write(name, name.encode() * 10)
    return remote


def test_what_is_being_read_stays_and_the_rest_leaves_first(tmp_path: Path) -> None:
    left: list[str] = []
    cache = PartCache(folder_of_three(tmp_path, 20), left.append)
    cache.expect("de", [("a", 10)], [])
    for name in ("a", "b", "c"):
        assert cache.read((name, 10), Path.read_bytes) == name.encode() * 10
    assert left == ["b"]
    assert bytes_in(tmp_path / "cache") == 20


def test_a_copy_that_another_process_removed_is_fetched_again(tmp_path: Path) -> None:
    cache = PartCache(folder_of_three(tmp_path, 20), list)
    cache.read(("a", 10), Path.read_bytes)
    shutil.rmtree(tmp_path / "cache")
    assert cache.read(("a", 10), Path.read_bytes) == b"a" * 10


def test_others_see_what_a_process_changed_that_was_killed_in_the_middle(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    remote = Folder(f"memory://{tmp_path}", str(place), cache_bytes=20)
    for name in ("a.bin", "c.bin"):
        remote.write(name, b"x" * 10)
    cache = PartCache(remote, list)
    cache.read(("a.bin", 10), Path.read_bytes)
    killed = f"""
import os
from pathlib import Path
from app.artifacts.store import Folder
from app.tokens.cache import PartCache
with PartCache(Folder("memory://x", {str(place)!r}, cache_bytes=20), list)._alone():
    Path({str(place)!r}, "b.bin").write_bytes(b"b" * 10)
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", killed], check=True)
    cache.read(("c.bin", 10), Path.read_bytes)
    assert bytes_in(place) == 20


def test_a_part_larger_than_the_cache_is_refused_with_the_cure(tmp_path: Path) -> None:
    cache = PartCache(folder_of_three(tmp_path, 9), list)
    with pytest.raises(StorageError, match=r"10 bytes does not fit .* raise artifacts\.cache_bytes \(9\)"):
        cache.read(("a", 10), Path.read_bytes)
    assert bytes_in(tmp_path / "cache") == 0
