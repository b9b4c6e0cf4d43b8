"""mC4 from the Hub's allenai/c4: files by glob at a pinned revision, each downloaded once, then read like any file.

English is the Hub's ``en-multi`` (file names ``c4-en.*``; plain ``en`` there is the English-only C4) and Hebrew is
``iw``. Shard names and counts differ between versions, so files are matched by glob, never computed.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document, JsonObject
from app.corpora.base import CorpusSettings, Reject, SourceFile, first_files
from app.corpora.readers import read_file

log = logging.getLogger(__name__)

REPOSITORY = "datasets/allenai/c4"
_FOLDER = "multilingual"
_HUB_CODE = {"he": "iw", "no": "no"}
_LONGEST_WAIT_SECONDS = 60.0


class Mc4Corpus:
    """The Hub's multilingual C4, or a local copy of it in the same layout (``corpus.path``)."""

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
            listed = [file for code in self._settings.languages for file in self._list(normalise(code))]
            self._found = first_files(listed, self._settings.max_files_per_language)
        return self._found

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus; a Hub file is staged first."""
        if self._settings.path:
            return read_file(file, self._settings)
        staged = SourceFile(str(self.stage(file)), file.lang, file.split, file.size_bytes)
        return read_file(staged, self._settings)

    def fingerprint(self) -> JsonObject:
        """Repository, revision and languages name the Hub's files exactly; a local copy is known by its files."""
        settings = self._settings
        if settings.path:
            files = [{"name": PurePosixPath(f.uri).name, "bytes": f.size_bytes} for f in self.files()]
            return {"source": "mc4", "files": files}
        return {
            "source": "mc4",
            "repository": REPOSITORY,
            "revision": settings.revision,
            "languages": sorted(normalise(code) for code in settings.languages),
            "max_files_per_language": settings.max_files_per_language,
        }

    def stage(self, file: SourceFile) -> Path:
        """Local copy of one Hub file, downloaded once; a torn download leaves nothing behind."""
        revision = self._settings.revision or "main"
        target = Path(self._settings.staging_dir) / revision / PurePosixPath(file.uri).name
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")

        def download() -> Path:
            with self._open_hub().open(file.uri, "rb") as source, partial.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
            if file.size_bytes is not None and partial.stat().st_size != file.size_bytes:
                raise OSError(f"got {partial.stat().st_size} of {file.size_bytes} bytes")
            return partial.rename(target)

        try:
            return self._retry(download, file.uri)
        finally:
            partial.unlink(missing_ok=True)

    def _list(self, lang: str) -> list[SourceFile]:
        code = _HUB_CODE.get(lang, lang)
        found: list[SourceFile] = []
        for split, middle in (("train", ""), ("validation", "-validation")):
            pattern = f"c4-{code}{middle}.*.json.gz"
            if self._settings.path:
                base = Path(self._settings.path)
                folder = base / _FOLDER if (base / _FOLDER).is_dir() else base
                found += [SourceFile(str(p), lang, split, p.stat().st_size) for p in sorted(folder.glob(pattern))]
                continue
            revision = f"@{self._settings.revision}" if self._settings.revision else ""
            place = f"{REPOSITORY}{revision}/{_FOLDER}/{pattern}"
            details = self._retry(lambda place=place: self._open_hub().glob(place, detail=True), place)
            found += [SourceFile(path, lang, split, details[path].get("size")) for path in sorted(details)]
        if not any(file.split == "train" for file in found):
            where = self._settings.path or f"{REPOSITORY} at {self._settings.revision or 'main'}"
            raise CorpusError(f"{where} has no file c4-{code}.*.json.gz for language {lang!r}; see corpus.languages")
        return found

    def _retry(self, action: Callable[[], Any], what: str) -> Any:
        """Run ``action`` until it succeeds, waiting twice as long each time, at most a minute.

        The Hub answers too many requests with errors of several kinds, "file not found" among them, so every
        OSError is tried again. Raises CorpusError after the last try, naming the file and the number of tries.
        """
        wait = self._settings.retry_wait_seconds
        for number in range(1, self._settings.retries + 1):
            try:
                return action()
            except OSError as error:
                if number == self._settings.retries:
                    raise CorpusError(
                        f"{what}: given up after {number} tries, the last error: {type(error).__name__}: {error};"
                        " check the network, or raise corpus.retries"
                    ) from error
                log.warning("%s: try %d failed (%s); next in %.0f s", what, number, error, wait)
            self._sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        raise AssertionError("unreachable: retries is at least 1")


def _hub() -> Any:
    from huggingface_hub import HfFileSystem  # imported late: only a corpus from the Hub needs it

    return HfFileSystem()
