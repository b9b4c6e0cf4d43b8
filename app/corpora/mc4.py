"""mC4 from the Hub's allenai/c4: files by glob at a pinned revision, each downloaded once, then read like any file.

English is the Hub's ``en-multi`` (file names ``c4-en.*``; plain ``en`` there is the English-only C4) and Hebrew is
``iw``. Shard names and counts differ between versions, so files are matched by glob, never computed.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document, JsonObject
from app.corpora.base import CorpusSettings, Reject, SourceFile, first_files
from app.corpora.readers import read_file

log = logging.getLogger(__name__)

REPOSITORY = "datasets/allenai/c4"
_FOLDER = "multilingual"
_HUB_CODE = {"he": "iw"}
_LONGEST_WAIT_SECONDS = 60.0
_Result = TypeVar("_Result")


class Mc4Corpus:
    """The Hub's multilingual C4, or a local copy of it in the same layout (``corpus.path``).

    ``open_hub`` returns the fsspec file system to download from, ``sleep`` waits between tries; for tests.
    """

    def __init__(
        self,
        settings: CorpusSettings,
        open_hub: Callable[[], Any] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._open_hub = open_hub or _hub
        self._sleep = sleep
        self._found: list[SourceFile] | None = None
        if not settings.languages:
            raise CorpusError("corpus.source=mc4 needs corpus.languages: all of mC4 is 9.7 TB")

    def files(self) -> Sequence[SourceFile]:
        """See Corpus."""
        if self._found is None:
            wanted = dict.fromkeys(normalise(code) for code in self._settings.languages)
            listed = [file for lang in wanted for file in self._list(lang)]
            self._found = first_files(listed, self._settings.max_files_per_language)
        return self._found

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus; a Hub file is staged first. Raises CorpusError if it cannot be downloaded."""
        if self._settings.path:
            return read_file(file, self._settings)
        staged = SourceFile(str(self.stage(file)), file.lang, file.split, file.size_bytes)
        return read_file(staged, self._settings)

    def fingerprint(self) -> JsonObject:
        """Repository, revision and languages name the Hub's files exactly; a local copy is known by its files."""
        settings = self._settings
        if settings.path:
            files: list[JsonObject] = [
                {"name": PurePosixPath(file.uri).name, "bytes": file.size_bytes} for file in self.files()
            ]
            return {"source": "mc4", "files": files}
        return {
            "source": "mc4",
            "repository": REPOSITORY,
            "revision": settings.revision,
            "languages": sorted(normalise(code) for code in settings.languages),
            "max_files_per_language": settings.max_files_per_language,
        }

    def stage(self, file: SourceFile) -> Path:
        """Local copy of one Hub file, downloaded once.

        A failed or killed download goes on where it stopped; a file is under its own name only when it is whole.
        Two runs with one staging folder wait for each other. Raises CorpusError after the last try.
        """
        target = Path(self._settings.staging_dir) / (self._settings.revision or "main") / PurePosixPath(file.uri).name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._retry(functools.partial(self._download, file, target), file.uri)
        return target

    def _download(self, file: SourceFile, target: Path) -> None:
        partial = target.with_name(f"{target.name}.partial")
        with partial.open("ab") as copy:
            fcntl.flock(copy, fcntl.LOCK_EX)
            if target.exists():  # another run was quicker, and may have renamed the very file we hold
                partial.unlink(missing_ok=True)
                return
            with self._open_hub().open(file.uri, "rb") as source:
                if done := copy.tell():
                    source.seek(done)
                shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            size = copy.tell()
            if file.size_bytes is not None and size > file.size_bytes:
                copy.truncate(0)
            if file.size_bytes is not None and size != file.size_bytes:
                raise OSError(f"got {size} of {file.size_bytes} bytes")
            partial.rename(target)

    def _list(self, lang: str) -> list[SourceFile]:
        code = _HUB_CODE.get(lang, lang)
        found: list[SourceFile] = []
        for split, middle in (("train", ""), ("validation", "-validation")):
            sizes = self._sizes(f"c4-{code}{middle}.*.json.gz")
            found += [SourceFile(uri, lang, split, size) for uri, size in sorted(sizes.items())]
        if not any(file.split == "train" for file in found):
            where = self._settings.path or f"{REPOSITORY} at {self._settings.revision or 'main'}"
            there = f" (only {len(found)} validation files)" if found else ""
            raise CorpusError(
                f"{where} has no file c4-{code}.*.json.gz for language {lang!r}{there}; take it out of corpus.languages"
            )
        return found

    def _sizes(self, pattern: str) -> Mapping[str, int | None]:
        """Address and size of the files whose name matches, in the local copy or on the Hub."""
        if self._settings.path:
            base = Path(self._settings.path)
            folder = base / _FOLDER if (base / _FOLDER).is_dir() else base
            return {str(path): path.stat().st_size for path in folder.glob(pattern)}
        revision = f"@{self._settings.revision}" if self._settings.revision else ""
        place = f"{REPOSITORY}{revision}/{_FOLDER}/{pattern}"
        details = self._retry(lambda: self._open_hub().glob(place, detail=True), place)
        return {path: info.get("size") for path, info in details.items()}

    def _retry(self, action: Callable[[], _Result], what: str) -> _Result:
        """Run ``action`` until it succeeds, waiting twice as long each time, at most a minute.

        The Hub answers too many requests with errors of several kinds, "file not found" among them, so every
        OSError is tried again. Raises CorpusError after the last try, naming the file and the number of tries.
        """
        wait = self._settings.retry_wait_seconds
        for number in range(1, self._settings.retries + 1):
            try:
                return action()
            except _transient_errors() as error:
                if number == self._settings.retries:
                    raise CorpusError(
                        f"{what}: given up after {number} tries, the last error: {type(error).__name__}: {error};"
                        " check the network, or raise corpus.retries; what was downloaded is kept"
                    ) from error
                log.warning("%s: try %d failed (%s); next in %.0f s", what, number, error, wait)
            self._sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        raise CorpusError(f"corpus.retries is {self._settings.retries}; it must be at least 1")


def _hub() -> Any:
    from huggingface_hub import HfFileSystem  # imported late: only a corpus from the Hub needs it

    return HfFileSystem()


def _transient_errors() -> tuple[type[Exception], ...]:
    """OSError, and what the Hub client's HTTP library raises: the base of the client's own error, whatever it is."""
    from huggingface_hub.errors import HfHubHTTPError  # imported late, as above

    return (OSError, *HfHubHTTPError.__bases__)
