from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.artifacts.store import Folder, Store
from app.core.errors import StorageError
from app.tokens import cache, stream
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
    parts = PartCache(folder_of_three(tmp_path, 20), left.append)
    parts.expect("de", [("a", 10)], [])
    for name in ("a", "b", "c"):
        assert parts.read((name, 10), Path.read_bytes) == name.encode() * 10
    assert left == ["b"]
    assert bytes_in(tmp_path / "cache") == 20


def test_a_copy_that_another_process_removed_is_fetched_again(tmp_path: Path) -> None:
    parts = PartCache(folder_of_three(tmp_path, 20), list)
    parts.read(("a", 10), Path.read_bytes)
    shutil.rmtree(tmp_path / "cache")
    assert parts.read(("a", 10), Path.read_bytes) == b"a" * 10


def test_others_see_what_a_process_changed_that_was_killed_in_the_middle(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    remote = Folder(f"memory://{tmp_path}", str(place), cache_bytes=20)
    for name in ("a.bin", "c.bin"):
        remote.write(name, b"x" * 10)
    parts = PartCache(remote, list)
    parts.read(("a.bin", 10), Path.read_bytes)
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
    parts.read(("c.bin", 10), Path.read_bytes)
    assert bytes_in(place) == 20


def shared(tmp_path: Path, limit: int, *names: str) -> Folder:
    """A remote folder with files of ten bytes, to be cached by several processes."""
    remote = Folder(f"memory://{tmp_path}", str(tmp_path / "cache"), cache_bytes=limit)
    for name in names:
        remote.write(name, b"x" * 10)
    return remote


def test_what_another_process_uses_does_not_leave_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_OLD_LOOK_SECONDS", 0.0)  # else what was seen a second ago still holds
    remote, left = shared(tmp_path, 20, "a.bin", "b.bin", "c.bin"), list[str]()
    one, other = PartCache(remote, left.append), PartCache(remote, list)
    for name in ("a.bin", "b.bin"):
        one.read((name, 10), Path.read_bytes)
    time.sleep(0.05)  # clocks of file systems are coarse
    other.read(("a.bin", 10), Path.read_bytes)
    one.read(("c.bin", 10), Path.read_bytes)
    assert left == ["b.bin"]


def test_what_another_process_removed_is_told_to_have_left(tmp_path: Path) -> None:
    remote, left = shared(tmp_path, 20, "a.bin", "b.bin", "c.bin", "d.bin"), list[str]()
    one, other = PartCache(remote, left.append), PartCache(remote, list)
    one.read(("a.bin", 10), Path.read_bytes)
    for name in ("b.bin", "c.bin"):
        time.sleep(0.05)
        other.read((name, 10), Path.read_bytes)
    one.read(("d.bin", 10), Path.read_bytes)
    assert left == ["a.bin", "b.bin"] and bytes_in(tmp_path / "cache") == 20


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Fetching slow.bin sets the first event and waits for the second."""
    begun, may_end, fetch = threading.Event(), threading.Event(), Folder.fetch

    def held_up(folder: Folder, name: str, target: Path) -> None:
        if name == "slow.bin":
            begun.set()
            assert may_end.wait(30)
        fetch(folder, name, target)

    monkeypatch.setattr(Folder, "fetch", held_up)
    yield begun, may_end
    may_end.set()


def test_a_reader_waits_for_the_room_that_another_fetch_holds(
    tmp_path: Path, slow: tuple[threading.Event, threading.Event]
) -> None:
    remote, (begun, may_end) = shared(tmp_path, 10, "slow.bin", "b.bin"), slow
    one, other = PartCache(remote, list), PartCache(remote, list)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(other.read, ("slow.bin", 10), Path.read_bytes)
        assert begun.wait(30)
        second = pool.submit(one.read, ("b.bin", 10), Path.read_bytes)
        with pytest.raises(TimeoutError):
            second.result(0.5)
        may_end.set()
        assert first.result(30) == second.result(30) == b"x" * 10


def test_a_reader_does_not_wait_for_room_for_ever(
    tmp_path: Path, slow: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_WAIT_SECONDS", 0.2)
    remote, (begun, may_end) = shared(tmp_path, 10, "slow.bin", "b.bin"), slow
    one, other = PartCache(remote, list), PartCache(remote, list)
    with ThreadPoolExecutor() as pool:
        pool.submit(other.read, ("slow.bin", 10), Path.read_bytes)
        assert begun.wait(30)
        with pytest.raises(StorageError, match=r"b\.bin found no room in 0 s, .* raise artifacts\.cache_bytes \(10\)"):
            one.read(("b.bin", 10), Path.read_bytes)
        may_end.set()


def test_a_process_that_was_killed_in_a_fetch_holds_no_room(tmp_path: Path) -> None:
    remote, place = shared(tmp_path, 10, "b.bin"), tmp_path / "cache"
    reader = PartCache(remote, list)
    killed = f"""
import os
from pathlib import Path
from app.artifacts.store import Folder
from app.tokens.cache import PartCache
def killed(folder, name, target):
    target.write_bytes(b"x" * 5)
    os._exit(0)
Folder.fetch = killed
PartCache(Folder("memory://x", {str(place)!r}, cache_bytes=10), list).read(("a.bin", 10), Path.read_bytes)
"""
    subprocess.run([sys.executable, "-c", killed], check=True)
    assert len(list(place.glob("a.bin.*"))) == 2
    began = time.monotonic()
    assert reader.read(("b.bin", 10), Path.read_bytes) == b"x" * 10
    assert time.monotonic() - began < 10
    assert sorted(path.name for path in place.iterdir()) == [".lock", "b.bin"]


def test_a_part_larger_than_the_cache_is_refused_with_the_cure(tmp_path: Path) -> None:
    parts = PartCache(folder_of_three(tmp_path, 9), list)
    with pytest.raises(StorageError, match=r"10 bytes does not fit .* raise artifacts\.cache_bytes \(9\)"):
        parts.read(("a", 10), Path.read_bytes)
    assert bytes_in(tmp_path / "cache") == 0
