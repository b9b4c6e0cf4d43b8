from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import pytest
from huggingface_hub import errors

from app.core.errors import CorpusError
from app.corpora import staging
from app.corpora.staging import HubFiles
from tests.support.hub import FakeHub

DATA = bytes(range(256)) * 4
URI = "datasets/some/where@abc/de/a.gz"


def _hub(hub: FakeHub, staging: Path, waits: list[float] | None = None, tries: int = 5, wait: float = 1.0) -> HubFiles:
    sleep = ([] if waits is None else waits).append
    return HubFiles("datasets/some/where", "abc", staging, tries, wait, lambda: hub, sleep, "log in")


def test_folders_and_files_are_listed_at_the_revision(tmp_path: Path) -> None:
    files = {URI: DATA, "datasets/some/where@abc/fr/b.gz": b"x", "datasets/some/where@abc/README.md": b""}
    hub = _hub(FakeHub(files), tmp_path)
    assert hub.folders("") == ["de", "fr"]
    assert hub.sizes("de/*.gz") == {URI: 1024}


def test_a_file_is_downloaded_once(tmp_path: Path) -> None:
    fake = FakeHub({URI: DATA})
    for _ in range(2):
        copy = _hub(fake, tmp_path).stage(URI, len(DATA), "de/a.gz")
    assert copy == tmp_path / "abc/de/a.gz" and copy.read_bytes() == DATA
    assert fake.opened == [URI]


def test_a_failing_hub_is_tried_again_with_doubled_waits(tmp_path: Path) -> None:
    waits: list[float] = []
    hub = _hub(FakeHub({URI: DATA}, failures=3), tmp_path, waits, wait=0.5)
    hub.sizes("de/*.gz")
    hub.stage(URI, len(DATA), "a.gz")
    assert waits == [0.5, 1.0, 2.0] * 2


def test_waits_end_at_a_minute(tmp_path: Path) -> None:
    waits: list[float] = []
    _hub(FakeHub({URI: DATA}, failures=8), tmp_path, waits, tries=9, wait=4.0).folders("")
    assert waits == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


def test_a_hub_that_always_fails_is_an_error_with_the_file_the_number_of_tries_and_the_hint(tmp_path: Path) -> None:
    hub = _hub(FakeHub({URI: DATA}, failures=10**9), tmp_path)
    with pytest.raises(CorpusError, match=r"de/a\.gz: given up after 5 tries.*429.*\(log in\)"):
        hub.stage(URI, len(DATA), "a.gz")
    with pytest.raises(CorpusError, match=r"de/\*\.gz: given up after 5 tries"):
        hub.sizes("de/*.gz")


def test_errors_of_the_hub_clients_own_http_library_are_tried_again(tmp_path: Path) -> None:
    transport = errors.HfHubHTTPError.__bases__[0]

    class _Unplugged(FakeHub):
        def glob(self, pattern: str, detail: bool) -> dict[str, dict[str, Any]]:
            raise transport("name resolution failed")

    with pytest.raises(CorpusError, match="given up after 2 tries"):
        _hub(_Unplugged({}), tmp_path, tries=2).sizes("*")


def test_a_torn_download_goes_on_where_it_stopped_also_in_the_next_run(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="what was downloaded is kept"):
        _hub(FakeHub({URI: DATA}, torn_at=[100, 150]), tmp_path, tries=2).stage(URI, len(DATA), "a.gz")
    (partial,) = (tmp_path / "abc").iterdir()
    assert partial.read_bytes() == DATA[:150]
    again = _hub(FakeHub({URI: DATA}), tmp_path).stage(URI, len(DATA), "a.gz")
    assert again.read_bytes() == DATA
    assert list((tmp_path / "abc").iterdir()) == [again]


def test_a_download_goes_on_where_another_run_has_left_it_while_this_one_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = tmp_path / "abc/a.gz.partial"
    partial.parent.mkdir()
    partial.write_bytes(DATA[:100])

    def lock(_file: object, _how: int) -> None:
        partial.write_bytes(DATA[:300])  # what the other one, which was then killed, has brought

    monkeypatch.setattr(staging.fcntl, "flock", lock)
    assert _hub(FakeHub({URI: DATA}), tmp_path).stage(URI, None, "a.gz").read_bytes() == DATA


def test_a_left_over_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc/a.gz.partial").write_bytes(b"x" * 10**6)
    assert _hub(FakeHub({URI: DATA}), tmp_path).stage(URI, len(DATA), "a.gz").read_bytes() == DATA


def test_a_copy_that_is_read_is_not_removed_and_one_that_was_read_is(tmp_path: Path) -> None:
    fake = FakeHub({URI: DATA})
    one, other = _hub(fake, tmp_path), _hub(fake, tmp_path)
    with one.staged(URI, len(DATA), "a.gz") as copy:
        other.remove("a.gz")
        assert copy.read_bytes() == DATA
    other.remove("a.gz")
    other.remove("a.gz")
    assert list((tmp_path / "abc").iterdir()) == []


def test_a_copy_that_was_removed_before_it_was_locked_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHub({URI: DATA})
    hub, flock, removed = _hub(fake, tmp_path), staging.fcntl.flock, list[int]()

    def lock(file: IO[bytes], how: int) -> None:
        if how == staging.fcntl.LOCK_SH and not removed:
            removed.append(how)
            _hub(fake, tmp_path).remove("a.gz")
        flock(file, how)

    monkeypatch.setattr(staging.fcntl, "flock", lock)
    with hub.staged(URI, len(DATA), "a.gz") as copy:
        assert copy.read_bytes() == DATA
    assert fake.opened == [URI, URI]
