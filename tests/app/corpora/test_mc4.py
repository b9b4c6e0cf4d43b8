from __future__ import annotations

import fnmatch
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from app.core.errors import CorpusError
from app.core.records import Document
from app.corpora.base import CorpusSettings
from app.corpora.mc4 import Mc4Corpus

NAMES = (
    "c4-en.tfrecord-00000-of-11264.json.gz",
    "c4-en.tfrecord-00001-of-11264.json.gz",
    "c4-en-validation.tfrecord-00000-of-00128.json.gz",
    "c4-iw.00064-00065-00066.json.gz",
    "c4-iw-validation.tfrecord-00000-of-00001.json.gz",
    "c4-hi.tfrecord-00000-of-01024.json.gz",
    "c4-hi-Latn.tfrecord-00000-of-00016.json.gz",
)
ROOT = "datasets/allenai/c4@abc/multilingual"
EN = f"{ROOT}/{NAMES[0]}"


def _content(name: str) -> bytes:
    lines = [json.dumps({"text": f"{name} {number**9}", "url": "u", "timestamp": "t"}) for number in range(50)]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


class _Torn(io.BytesIO):
    """Fails when read past a position; seeks like a remote file."""

    def __init__(self, data: bytes, fails_at: int) -> None:
        super().__init__(data)
        self._fails_at = fails_at

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._fails_at:
            raise ConnectionResetError("connection reset")
        return super().read(min(self._fails_at - self.tell(), size if size and size > 0 else 1 << 30))


class _FakeHub:
    """A file system that fails a number of times before each listing and each file works."""

    def __init__(self, failures: int = 0, torn_at: Sequence[int] = ()) -> None:
        self.files = {f"{ROOT}/{name}": _content(name) for name in NAMES}
        self.failures = failures
        self.torn_at = list(torn_at)
        self.opened: list[str] = []
        self._failed: dict[str, int] = {}

    def _maybe_fail(self, what: str) -> None:
        self._failed[what] = self._failed.get(what, 0) + 1
        if self._failed[what] <= self.failures:
            raise FileNotFoundError(f"429 for {what}")  # how a rate limit may look

    def glob(self, pattern: str, detail: bool) -> dict[str, dict[str, Any]]:
        assert detail
        self._maybe_fail(pattern)
        return {path: {"size": len(data)} for path, data in self.files.items() if fnmatch.fnmatch(path, pattern)}

    def open(self, path: str, mode: str) -> io.BytesIO:
        assert mode == "rb"
        self._maybe_fail(path)
        self.opened.append(path)
        return _Torn(self.files[path], self.torn_at.pop(0)) if self.torn_at else io.BytesIO(self.files[path])


def _corpus(
    hub: _FakeHub, staging: Path, *languages: str, waits: list[float] | None = None, **options: Any
) -> Mc4Corpus:
    settings = CorpusSettings(
        source="mc4", languages=languages, revision="abc", staging_dir=str(staging), **{"retries": 5, **options}
    )
    return Mc4Corpus(settings, lambda: hub, ([] if waits is None else waits).append)


def _local_copy(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(_content(name))
    return folder


@pytest.mark.parametrize("subfolder", ["multilingual", "."])
def test_a_local_copy_in_the_hubs_layout_is_read_where_it_lies(tmp_path: Path, subfolder: str) -> None:
    _local_copy(tmp_path / "c4" / subfolder)
    corpus = Mc4Corpus(CorpusSettings(source="mc4", path=str(tmp_path / "c4"), languages=("iw", "en-multi", "hi")))
    files = [(PurePosixPath(file.uri).name, file.lang, file.split) for file in corpus.files()]
    assert files == [
        (NAMES[3], "he", "train"),
        (NAMES[4], "he", "validation"),
        (NAMES[0], "en", "train"),
        (NAMES[1], "en", "train"),
        (NAMES[2], "en", "validation"),
        (NAMES[5], "hi", "train"),
    ]
    rows = list(corpus.read(corpus.files()[0]))
    assert [row.text for row in rows if isinstance(row, Document)] == [f"{NAMES[3]} {n**9}" for n in range(50)]
    assert {row.lang for row in rows if isinstance(row, Document)} == {"he"}
    json.dumps(corpus.fingerprint())


def test_the_hubs_files_are_listed_at_the_pinned_revision_and_downloaded_once(tmp_path: Path) -> None:
    hub = _FakeHub()
    corpus = _corpus(hub, tmp_path, "en", "hi-Latn")
    assert [PurePosixPath(file.uri).name for file in corpus.files()] == [*NAMES[:3], NAMES[6]]
    for _ in range(2):
        rows = list(corpus.read(corpus.files()[0]))
        assert len(rows) == 50 and all(isinstance(row, Document) for row in rows)
    assert hub.opened == [EN]
    assert [path.name for path in (tmp_path / "abc").iterdir()] == [NAMES[0]]


def test_a_failing_hub_is_tried_again_with_doubled_waits(tmp_path: Path) -> None:
    waits: list[float] = []
    corpus = _corpus(_FakeHub(failures=3), tmp_path, "en", waits=waits, retry_wait_seconds=0.5)
    (first, *_) = corpus.files()
    assert waits == [0.5, 1.0, 2.0] * 2  # two listings: train and validation
    waits.clear()
    assert corpus.stage(first).read_bytes() == _content(NAMES[0])
    assert waits == [0.5, 1.0, 2.0]


def test_waits_end_at_a_minute(tmp_path: Path) -> None:
    waits: list[float] = []
    _corpus(_FakeHub(failures=8), tmp_path, "iw", waits=waits, retries=9, retry_wait_seconds=4.0).files()
    assert waits[:8] == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


def test_a_hub_that_always_fails_is_an_error_with_the_file_and_the_number_of_tries(tmp_path: Path) -> None:
    hub = _FakeHub()
    corpus = _corpus(hub, tmp_path, "en")
    (first, *_) = corpus.files()
    hub.failures = 10**9
    with pytest.raises(CorpusError, match=rf"{NAMES[0]}: given up after 5 tries.*429"):
        corpus.read(first)
    with pytest.raises(CorpusError, match=r"c4-iw\.\*\.json\.gz: given up after 5 tries"):
        _corpus(hub, tmp_path, "iw").files()


def test_errors_of_the_hub_clients_own_http_library_are_tried_again(tmp_path: Path) -> None:
    errors = pytest.importorskip("huggingface_hub.errors")
    transport = errors.HfHubHTTPError.__bases__[0]

    class _Unplugged(_FakeHub):
        def glob(self, pattern: str, detail: bool) -> dict[str, dict[str, Any]]:
            raise transport("name resolution failed")

    with pytest.raises(CorpusError, match="given up after 2 tries"):
        _corpus(_Unplugged(), tmp_path, "en", retries=2).files()


def test_a_torn_download_goes_on_where_it_stopped_also_in_the_next_run(tmp_path: Path) -> None:
    hub = _FakeHub(torn_at=[100, 150])
    corpus = _corpus(hub, tmp_path, "en", retries=2)
    (first, *_) = corpus.files()
    with pytest.raises(CorpusError, match="what was downloaded is kept"):
        corpus.stage(first)
    (partial,) = (tmp_path / "abc").iterdir()
    assert partial.read_bytes() == _content(NAMES[0])[:150]
    again = _corpus(_FakeHub(), tmp_path, "en").stage(first)
    assert again.read_bytes() == _content(NAMES[0])
    assert list((tmp_path / "abc").iterdir()) == [again]


def test_a_left_over_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    corpus = _corpus(_FakeHub(), tmp_path, "en")
    (first, *_) = corpus.files()
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / f"{NAMES[0]}.partial").write_bytes(b"x" * 10**6)
    assert corpus.stage(first).read_bytes() == _content(NAMES[0])


def test_a_language_without_files_and_no_language_at_all_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"datasets/allenai/c4 at abc has no file c4-sw\..*'sw'"):
        _corpus(_FakeHub(), tmp_path, "sw").files()
    with pytest.raises(CorpusError, match=r"needs corpus\.languages"):
        _corpus(_FakeHub(), tmp_path)


def test_fingerprint_of_the_hub_needs_no_network_and_names_the_revision(tmp_path: Path) -> None:
    fingerprint = _corpus(_FakeHub(failures=10**9), tmp_path, "iw", "en").fingerprint()
    assert (fingerprint["revision"], fingerprint["languages"]) == ("abc", ["en", "he"])
