"""A folder, file, glob or URI of mC4-layout, plain jsonl or parquet files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import fsspec

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document, JsonObject
from app.corpora.base import CorpusSettings, Reject, SourceFile, first_files
from app.corpora.readers import SUFFIXES, read_file

_MC4_NAME = re.compile(r"^c4-([A-Za-z]{2,3}(?:-(?:Latn|multi))?)(-validation)?\.")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}


class FilesCorpus:
    """Files with their language from the mC4 name, the folder, the row, or the only configured language."""

    def __init__(self, settings: CorpusSettings) -> None:
        self._settings = settings
        self._found: list[SourceFile] | None = None

    def files(self) -> Sequence[SourceFile]:
        """See Corpus."""
        if self._found is None:
            self._found = self._find()
        return self._found

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus."""
        return read_file(file, self._settings)

    def fingerprint(self) -> JsonObject:
        """Names relative to the path, and sizes: the same corpus in another place is the same corpus."""
        names = [
            {"name": self._relative(file.uri), "lang": file.lang, "split": file.split, "bytes": file.size_bytes}
            for file in self.files()
        ]
        return {"source": "files", "files": names}

    def _relative(self, uri: str) -> str:
        _, root = fsspec.core.url_to_fs(_required(self._settings))
        _, path = fsspec.core.url_to_fs(uri)
        base = re.split(r"[*?\[]", root)[0].rstrip("/")
        return str(path).removeprefix(base).lstrip("/") or PurePosixPath(str(path)).name

    def _find(self) -> list[SourceFile]:
        place = _required(self._settings)
        fs, root = fsspec.core.url_to_fs(place)
        sizes = _sizes(fs, root)
        if not sizes:
            raise CorpusError(f"corpus.path {place!r} does not exist or is empty")
        usable = {path: size for path, size in sizes.items() if path.endswith(SUFFIXES)}
        if not usable:
            seen = ", ".join(sorted({PurePosixPath(path).suffix or "no suffix" for path in sizes}))
            raise CorpusError(
                f"corpus.path {place!r} holds {len(sizes)} files ({seen}) but none of {', '.join(SUFFIXES)}"
            )
        wanted = {normalise(code) for code in self._settings.languages}
        found = [self._describe(fs, root, path, size) for path, size in sorted(usable.items())]
        kept = [file for file in found if not wanted or file.lang is None or file.lang in wanted]
        named = {file.lang for file in kept if file.lang is not None}
        if not kept or (not any(file.lang is None for file in kept) and wanted - named):
            there = ", ".join(sorted({file.lang for file in found if file.lang})) or "none"
            raise CorpusError(
                f"corpus.path {place!r} has no file for {', '.join(sorted(wanted - named))}; languages found: {there};"
                " set corpus.languages"
            )
        return first_files(kept, self._settings.max_files_per_language)

    def _describe(self, fs: Any, root: str, path: str, size: int) -> SourceFile:
        uri = str(fs.unstrip_protocol(path)) if "file" not in _protocols(fs) else path
        name = PurePosixPath(path).name
        if match := _MC4_NAME.match(name):
            return SourceFile(uri, normalise(match.group(1)), "validation" if match.group(2) else "train", size)
        folders = PurePosixPath(path.removeprefix(root).lstrip("/")).parts[:-1]
        split = next((_SPLIT_NAMES[part.lower()] for part in reversed(folders) if part.lower() in _SPLIT_NAMES), None)
        lang = next((code for part in reversed(folders) if (code := _language_of(part))), None)
        if lang is None and len(self._settings.languages) == 1:
            lang = normalise(self._settings.languages[0])
        return SourceFile(uri, lang, split, size)


def _language_of(folder: str) -> str | None:
    if folder.lower() in _SPLIT_NAMES:
        return None
    try:
        return normalise(folder)
    except CorpusError:
        return None


def _sizes(fs: Any, root: str) -> dict[str, int]:
    if any(mark in root for mark in "*?["):
        details = fs.glob(root, detail=True)
    elif fs.isfile(root):
        details = {root: fs.info(root)}
    else:
        details = fs.find(root, detail=True) if fs.exists(root) else {}
    return {str(path): int(info.get("size") or 0) for path, info in details.items() if info.get("type") == "file"}


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _required(settings: CorpusSettings) -> str:
    if not settings.path:
        raise CorpusError("corpus.source=files needs corpus.path: a folder, a file, a glob or a URI")
    return settings.path
