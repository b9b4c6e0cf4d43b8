"""The files below a place: a folder, a file, a glob or a URI; links are followed, and what is not listed is named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.utils import glob_translate

from app.core.errors import CorpusError
from app.corpora.base import Unread
from app.corpora.streams import local_path
from app.corpora.unread import STRANGE_NAME

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Listed:
    """A file: its address, its name below the place, its bytes where the storage tells."""

    uri: str
    name: PurePosixPath
    size_bytes: int | None


@dataclass
class Listing:
    """What lies at a place. ``base``: the folder that names are relative to."""

    base: PurePosixPath
    files: list[Listed] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def list_files(place: str) -> Listing:
    """Every file at a place, by name; hidden ones, broken links and what is listed already are ``unread``.

    A place that exists is meant literally; only else ``*``, ``?`` and ``[`` are a pattern. Raises CorpusError if the
    place cannot be listed.
    """
    path = local_path(place)
    listing = _list_remote(place) if path is None else _list_local(path)
    listing.files.sort(key=lambda file: file.name)
    listing.unread.sort(key=lambda file: file.name)
    return listing


def _list_local(path: Path) -> Listing:
    # Links stay: in the Hub's cache a link has the file's name, and what it names is a hash.
    path = Path(os.path.normpath(path))
    if path.is_file():
        listing = Listing(PurePosixPath(path.parent))
        listing.files = list(_unique(path.parent, [path], listing.unread))
        return listing
    if path.is_dir() or not _MAGIC.search(str(path)):
        pattern, base = None, path
    else:
        # fsspec's patterns, so that they mean the same here and on a remote storage.
        pattern, base = re.compile(glob_translate(path.as_posix())), Path(_before_marks(path.as_posix()))
    listing = Listing(PurePosixPath(base))
    if not base.is_dir():
        return listing
    # A pattern without ** matches nothing deeper than itself; folders below are not walked.
    most = None if pattern is None or "**" in str(path) else len(path.parts) - len(base.parts)
    found = [file for file in _Walk(base, listing.unread).files(most) if not pattern or pattern.match(file.as_posix())]
    listing.files = list(_unique(base, found, listing.unread))
    if pattern:
        listing.unread = [file for file in listing.unread if pattern.match((base / file.name).as_posix())]
    return listing


class _Walk:
    """The files below a folder, each folder once: real folders before links to them, and no link into a circle."""

    def __init__(self, base: Path, unread: list[Unread]) -> None:
        self._base, self._unread = base, unread
        self._seen: set[str] = set()

    def files(self, most_levels: int | None) -> Iterator[Path]:
        """most_levels: of names below the base; None is all."""
        waiting: list[tuple[Path, int]] = [(self._base, 1)]
        links: list[tuple[Path, int]] = []
        while waiting or links:
            if not waiting:
                link, level = links.pop(0)
                if self._is_new(link):
                    waiting.append((link, level))
                continue
            folder, level = waiting.pop()
            self._seen.add(os.path.realpath(folder))
            for entry in self._entries(folder):
                if entry.name.startswith("."):
                    self._leave(entry, "hidden")
                elif not _is_folder(entry):
                    yield Path(entry.path)
                elif level != most_levels:
                    (links if entry.is_symlink() else waiting).append((Path(entry.path), level + 1))

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise CorpusError(
                f"{folder}: cannot be listed: {error}; give the permission to read it, or take it out of corpus.path"
            ) from error

    def _is_new(self, link: Path) -> bool:
        real = os.path.realpath(link)
        if real in self._seen:
            self._leave(link, "a link to a folder that is read already")
            return False
        if Path(os.path.realpath(link.parent)).is_relative_to(real):
            self._leave(link, "a link to a folder that it lies in")
            return False
        return True

    def _leave(self, entry: os.DirEntry[str] | Path, why: str) -> None:
        self._unread.append(Unread(_printable(Path(entry).relative_to(self._base).as_posix()), why))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _printable(name: str) -> str:
    """With the bytes of a name that is not UTF-8 as ``\\xe9``: neither a log nor JSON could hold them."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _unique(base: Path, paths: Iterable[Path], unread: list[Unread]) -> Iterator[Listed]:
    """Each file once, by its own name rather than a link's; what cannot be opened is left unread."""
    first: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (path.is_symlink(), path.as_posix())):
        name, real = path.relative_to(base).as_posix(), os.path.realpath(path)
        if (shown := _printable(name)) != name:
            size = path.stat().st_size if path.is_file() else 0
            unread.append(Unread(shown, STRANGE_NAME, size, is_loss=True))
        elif not path.exists():
            unread.append(Unread(name, "a broken link: the file that it names is not there", is_loss=True))
        elif not path.is_file():
            unread.append(Unread(name, "neither a file nor a folder"))
        elif real in first:
            unread.append(Unread(name, f"a link to {first[real]}, which is listed already"))
        else:
            first[real] = name
            yield Listed(str(path), PurePosixPath(name), path.stat().st_size)


def _list_remote(place: str) -> Listing:
    try:
        filesystem, root = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise CorpusError(f"corpus.path {place!r}: {error}; install it, or use another address") from error
    root = str(root)
    if filesystem.isfile(root):
        base, details = PurePosixPath(root).parent, {root: filesystem.info(root)}
    elif filesystem.exists(root):
        base, details = PurePosixPath(root), filesystem.find(root, detail=True)
    else:
        base = PurePosixPath(_before_marks(root))
        details = filesystem.glob(root, detail=True) if _MAGIC.search(root) else {}
    listing = Listing(base)
    for path, info in details.items():
        name = PurePosixPath(str(path)).relative_to(base)
        if any(part.startswith(".") for part in name.parts):
            listing.unread.append(Unread(name.as_posix(), "hidden"))
        elif info["type"] != "directory":
            listing.files.append(Listed(_address(filesystem, str(path)), name, _size(info)))
    return listing


def _address(filesystem: Any, path: str) -> str:
    protocols = (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)
    return path if "file" in protocols else str(filesystem.unstrip_protocol(path))


def _size(info: dict[str, Any]) -> int | None:
    return None if info.get("size") is None else int(info["size"])


def _before_marks(path: str) -> str:
    """The folder of a glob that has no marks in it."""
    found = _MAGIC.search(path)
    return path[: found.start()].rpartition("/")[0] or "/" if found else path
