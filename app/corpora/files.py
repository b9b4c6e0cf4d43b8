"""A folder, file, glob or URI of mC4-layout, plain jsonl or parquet files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import fsspec

from app.core.errors import CorpusError
from app.core.languages import known_codes, normalise
from app.core.records import Document, JsonObject
from app.corpora.base import CorpusSettings, Reject, SourceFile, first_files
from app.corpora.layouts import MC4_NAME
from app.corpora.readers import PARQUET_SUFFIX, is_readable, read_file
from app.corpora.streams import LINE_SUFFIXES
from app.corpora.traps import refuse_traps

_SPLIT_IN_NAME = re.compile(r"(?:c4-)?(train|training|validation|valid|val|dev|test)(?=[-_.])", re.IGNORECASE)
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a folder or the start of a file's name says; ``test`` files are left alone, neither trained on nor scored."""
_MAGIC = re.compile(r"[*?\[]")


class FilesCorpus:
    """Files whose language is in the mC4 name, else in a folder's name, else in the row, else the only configured.

    Folders count below ``corpus.path`` (``<lang>/...``, ``<lang>/<split>/...``), and its own name with them.
    """

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
        filesystem, root = _open(self._settings)
        base = _fixed_folder(filesystem, root)
        names: list[JsonObject] = [
            {
                "name": PurePosixPath(fsspec.core.url_to_fs(file.uri)[1]).relative_to(base).as_posix(),
                "lang": file.lang,
                "split": file.split,
                "bytes": file.size_bytes,
            }
            for file in self.files()
        ]
        return {"source": "files", "files": names}

    def _find(self) -> list[SourceFile]:
        place = self._settings.path
        filesystem, root = _open(self._settings)
        base = _fixed_folder(filesystem, root)
        sizes = {path: size for path, size in _sizes(filesystem, root).items() if not _is_hidden(path, base)}
        if not sizes:
            raise CorpusError(f"corpus.path {place!r} does not exist or is empty")
        usable = sorted(path for path in sizes if is_readable(path))
        if not usable:
            seen = ", ".join(sorted({PurePosixPath(path).suffix or "no suffix" for path in sizes}))
            known = ", ".join((*LINE_SUFFIXES, PARQUET_SUFFIX))
            raise CorpusError(f"corpus.path {place!r} holds {len(sizes)} files ({seen}) but none of {known}")
        wanted = {normalise(code) for code in self._settings.languages}
        found = [_describe(filesystem, base, path, sizes[path], wanted) for path in usable]
        kept = [
            file for file in found if file.split != "test" and (not wanted or file.lang is None or file.lang in wanted)
        ]
        missing = wanted - {file.lang for file in kept}
        if not kept or (missing and all(file.lang is not None for file in kept)):
            there = ", ".join(sorted({file.lang for file in found if file.lang})) or "none"
            raise CorpusError(
                f"corpus.path {place!r} holds {len(usable)} readable files but none to use for"
                f" {', '.join(sorted(missing)) or 'training'}; languages found: {there}; set corpus.languages"
            )
        refuse_traps(file.uri for file in kept)
        return first_files(kept, self._settings.max_files_per_language)


def _describe(filesystem: Any, base: PurePosixPath, path: str, size: int, wanted: set[str]) -> SourceFile:
    uri = path if "file" in _protocols(filesystem) else str(filesystem.unstrip_protocol(path))
    place = PurePosixPath(path)
    if match := MC4_NAME.match(place.name):
        try:
            lang = normalise(match.group(1))
        except CorpusError as error:
            raise CorpusError(f"{uri}: {error}; rename the file or move it out of corpus.path") from error
        return SourceFile(uri, lang, "validation" if match.group(2) else "train", size)
    folders = place.relative_to(base).parts[:-1]
    named = _SPLIT_IN_NAME.match(place.name)
    splits = [*([named.group(1).lower()] if named else []), *(part.lower() for part in reversed(folders))]
    if base.name.lower() in _SPLITS:
        splits.append(base.name.lower())
    split = next((_SPLITS[part] for part in splits if part in _SPLITS), None)
    return SourceFile(uri, _language(folders, base, wanted), split, size)


def _language(folders: Sequence[str], base: PurePosixPath, wanted: set[str]) -> str | None:
    """The language that the folders name, the nearest to the file first, but a wanted one before any other."""
    own = base.parent.name if base.name.lower() in _SPLITS else base.name
    named = [code for part in reversed(folders) if (code := _language_of(part))]
    if (code := _language_of(own)) and (not wanted or code in wanted):
        named.append(code)
    return next((code for code in named if code in wanted), named[0] if named else None)


def _language_of(folder: str) -> str | None:
    """A folder's language; not every word of three letters that happens to be a code nobody has a name for."""
    if folder.lower() in _SPLITS:
        return None
    try:
        code = normalise(folder)
    except CorpusError:
        return None
    return code if len(folder) > 3 or code in known_codes() else None


def _open(settings: CorpusSettings) -> tuple[Any, str]:
    if not settings.path:
        raise CorpusError("corpus.source=files needs corpus.path: a folder, a file, a glob or a URI")
    try:
        filesystem, root = fsspec.core.url_to_fs(settings.path)
    except (ImportError, ValueError) as error:
        raise CorpusError(f"corpus.path {settings.path!r}: {error}; install it, or use another address") from error
    return filesystem, str(root)


def _fixed_folder(filesystem: Any, root: str) -> PurePosixPath:
    """The folder that names are relative to: the path, its parent for a file, what is before the marks for a glob."""
    if match := _MAGIC.search(root):
        return PurePosixPath(root[: match.start()].rpartition("/")[0] or "/")
    return PurePosixPath(root).parent if filesystem.isfile(root) else PurePosixPath(root)


def _sizes(filesystem: Any, root: str) -> dict[str, int]:
    if _MAGIC.search(root):
        details = filesystem.glob(root, detail=True)
    elif filesystem.isfile(root):
        details = {root: filesystem.info(root)}
    else:
        details = filesystem.find(root, detail=True) if filesystem.exists(root) else {}
    # links are of type "other": the Hub's cache is made of them
    return {str(path): int(info.get("size") or 0) for path, info in details.items() if info["type"] != "directory"}


def _is_hidden(path: str, base: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(path).relative_to(base).parts)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)
