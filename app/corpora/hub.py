"""A multilingual corpus from the Hub, or a local copy in the Hub's layout: files at a pinned revision, read as any.

mC4's English is the Hub's ``en-multi`` (file names ``c4-en.*``; plain ``en`` there is the English-only C4). Shard
names and counts differ between versions, so files are matched by glob, never computed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document, JsonObject
from app.core.units import format_bytes
from app.corpora.base import CorpusSettings, Reject, SourceFile, Survey, Unread, first_files, hold_out_by_hash
from app.corpora.layouts import LAYOUTS
from app.corpora.readers import read_file
from app.corpora.staging import HubFiles, hub_filesystem
from app.corpora.traps import refuse_converted, refuse_traps
from app.corpora.unread import refuse_most_unread, sift

log = logging.getLogger(__name__)


class HubCorpus:
    """One of ``LAYOUTS``, by ``corpus.source``; with ``corpus.path`` a local copy of the repository or of its root.

    ``open_hub`` returns the fsspec file system to download from, ``sleep`` waits between tries; for tests.
    """

    def __init__(
        self,
        settings: CorpusSettings,
        open_hub: Callable[[], Any] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        layout = LAYOUTS[settings.source]
        if not settings.languages:
            raise CorpusError(f"corpus.source={settings.source} needs corpus.languages: all of it is {layout.size}")
        revision = settings.revision or layout.revision
        refuse_converted(revision)
        # By default each column has our name for it; only a name that was changed goes before the layout's.
        renamed = {ours: theirs for ours, theirs in settings.columns.items() if ours != theirs}
        self._settings = replace(settings, columns={**layout.columns, **renamed}, line_break=layout.line_break)
        self._layout = layout
        self._hub = HubFiles(
            repository=layout.repository,
            revision=revision,
            staging=Path(settings.staging_dir),
            retries=settings.retries,
            retry_wait_seconds=settings.retry_wait_seconds,
            open_hub=open_hub or hub_filesystem,
            sleep=sleep,
            hint=layout.hint,
        )
        self._found: list[SourceFile] | None = None
        self._unread: list[Unread] = []

    def files(self) -> Sequence[SourceFile]:
        """See Corpus."""
        if self._found is None:
            wanted = self._languages()
            folders = self._folders() if self._layout.codes is None else {}
            listed = [file for lang in wanted for file in self._list(lang, folders)]
            if self._settings.path:
                listed, self._unread = sift(listed)
                refuse_most_unread(self._where(), listed, self._unread)
            self._found = first_files(hold_out_by_hash(listed), self._settings.max_files_per_language)
        return self._found

    def survey(self) -> Survey:
        """See Corpus. Files of other languages and splits match no pattern and are not listed."""
        files = self.files()
        size = format_bytes(sum(file.size_bytes or 0 for file in files))
        return Survey((f"{self._where()}: {len(files)} files to read, {size}",), tuple(self._unread))

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus; a Hub file is staged first. Raises CorpusError if it cannot be downloaded."""
        if self._settings.path:
            yield from read_file(file, self._settings)
            return
        with self._hub.staged(file.uri, file.size_bytes, self._name(file)) as copy:
            yield from read_file(replace(file, uri=str(copy)), self._settings)

    def release(self, file: SourceFile) -> None:
        """See Corpus; the staged copy goes, but for ``corpus.keep_staged``."""
        if not (self._settings.path or self._settings.keep_staged):
            self._hub.remove(self._name(file))

    def fingerprint(self) -> JsonObject:
        """Repository, revision and languages name the Hub's files exactly; a local copy is known by its files."""
        settings = self._settings
        if settings.path:
            files: list[JsonObject] = [
                {"name": self._name(file), "split": file.split, "bytes": file.size_bytes} for file in self.files()
            ]
            return {"source": settings.source, "files": files}
        return {
            "source": settings.source,
            "repository": self._hub.repository,
            "revision": self._hub.revision,
            "languages": sorted(self._languages()),
            "max_files_per_language": settings.max_files_per_language,
        }

    def _languages(self) -> list[str]:
        return list(dict.fromkeys(normalise(code) for code in self._settings.languages))

    def _folders(self) -> Mapping[str, list[str]]:
        """Language -> the folders that name it; those that name none are left alone and counted in the log."""
        if self._settings.path:
            names = sorted(path.name for path in self._local_root().glob("*") if path.is_dir())
        else:
            names = self._hub.folders(self._layout.root)
        found: dict[str, list[str]] = {}
        others = []
        for name in names:
            try:
                found.setdefault(normalise(name), []).append(name)
            except CorpusError:
                others.append(name)
        if others:
            log.info("%s: %d folders are no language and left alone: %s", self._where(), len(others), others[0])
        return found

    def _list(self, lang: str, folders: Mapping[str, list[str]]) -> list[SourceFile]:
        layout = self._layout
        codes = folders.get(lang, []) if layout.codes is None else [layout.codes.get(lang, lang)]
        patterns = [(split, pattern.format(code=code)) for code in codes for split, pattern in layout.files]
        found = [
            SourceFile(uri, lang, split, size, is_language_sure=True, is_open=bool(self._settings.path))
            for split, pattern in patterns
            # A file system lists in any order; `max_files_per_language` takes the first.
            for uri, size in sorted(self._sizes(pattern).items())
        ]
        if not any(file.split != "validation" for file in found):
            if self._settings.path:
                if not Path(self._settings.path).is_dir():
                    raise CorpusError(
                        f"corpus.path {self._settings.path!r} is no folder of this machine; with"
                        f" corpus.source={self._settings.source} it is a local copy, or empty for the Hub's own files"
                    )
                # Perhaps the copy is of the wrong files, which has a cure of its own.
                there_is = (path.as_posix() for path in Path(self._settings.path).absolute().rglob("*"))
                refuse_traps(there_is, as_mc4=self._settings.source == "mc4")
            missing = f"file {patterns[0][1]}" if patterns else f"folder in {layout.root or 'it'}"
            there = f" (only {len(found)} validation files)" if found else ""
            raise CorpusError(
                f"{self._where()} has no {missing} for language {lang!r}{there}; take it out of corpus.languages"
                f"{layout.hint and f' ({layout.hint})'}"
            )
        return found

    def _sizes(self, pattern: str) -> Mapping[str, int | None]:
        """Address and size of the files that match below the root, in the local copy or on the Hub."""
        if self._settings.path:
            return {str(path): path.stat().st_size for path in self._local_root().glob(pattern)}
        return self._hub.sizes(str(PurePosixPath(self._layout.root, pattern)))

    def _local_root(self) -> Path:
        base = Path(self._settings.path or "")
        return base / self._layout.root if (base / self._layout.root).is_dir() else base

    def _name(self, file: SourceFile) -> str:
        """A file's name below the root."""
        if self._settings.path:
            return Path(file.uri).relative_to(self._local_root()).as_posix()
        # By number of names, since in the address the repository's last one ends with `@revision`.
        above = PurePosixPath(self._hub.repository, self._layout.root)
        return PurePosixPath(*PurePosixPath(file.uri).parts[len(above.parts) :]).as_posix()

    def _where(self) -> str:
        return self._settings.path or f"{self._hub.repository} at {self._hub.revision}"
