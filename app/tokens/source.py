"""Where the files of token parts are opened: one at a time, and only so many of them at once."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from app.artifacts.layout import shard_folder
from app.artifacts.store import Folder, StageFolder
from app.core.errors import CorruptArtifact, StorageError
from app.core.records import Array
from app.tokens.cache import File, PartCache
from app.tokens.counts import PartCount
from app.tokens.index import RECORD

T = TypeVar("T")

_OPEN_FILES = 512
"""An open file each, and a process may have 1,024 on many systems."""
IDS, INDEX = ".bin", ".npy"
_HEADER_BYTES = 256
"""At most, of an index file."""


class PartSource(Protocol):
    """The parts of a tokens stage, wherever their bytes are."""

    def index(self, lang: str, split: str, part: PartCount) -> Array:
        """The records of a part, (documents,) of ``RECORD``; not to be written to."""

    def ids(self, lang: str, split: str, part: PartCount) -> Array:
        """The token ids of a part, (tokens,) unsigned; not to be written to."""

    def expect(self, lang: str, split: str, now: Sequence[PartCount], soon: Sequence[PartCount]) -> None:
        """Say which parts of a language are read from here on, and which then."""


class FolderParts:
    """Parts as files that are mapped into memory; those of a remote store come through a bounded cache.

    dtype: of the ids, little-endian. Reading raises CorruptArtifact if a file does not hold what is counted, and
    StorageError if it cannot be read.
    """

    def __init__(self, folder: Folder, dtype: np.dtype[Any]) -> None:
        self._folder, self._dtype = folder, dtype
        # The cache's threads call `_forget` at any time, hence the lock.
        self._mapped: OrderedDict[str, Array] = OrderedDict()
        self._lock = threading.Lock()
        if isinstance(folder, StageFolder):
            folder.drop_stale_copies()
        self._cache = None if folder.is_local else PartCache(folder, self._forget)

    def index(self, lang: str, split: str, part: PartCount) -> Array:
        """See PartSource."""
        name, _ = file = self._index_file(lang, split, part)
        try:
            index: Array = self._read(file, lambda path: np.load(path, allow_pickle=False))
        # numpy says with EOFError and ValueError that a file is no index; other faults are the disk's and may pass.
        except (FileNotFoundError, EOFError, ValueError) as error:
            raise self._corrupt(name, f"cannot be read ({error})") from None
        if index.dtype != RECORD or (len(index), index["length"].sum()) != (part.documents, part.tokens):
            raise self._corrupt(name, f"does not list {part.documents} documents with {part.tokens} tokens")
        return index

    def ids(self, lang: str, split: str, part: PartCount) -> Array:
        """See PartSource."""
        name, _ = file = self._ids_file(lang, split, part)
        with self._lock:
            ids = self._mapped.get(name)
            if ids is not None:
                self._mapped.move_to_end(name)
        if ids is None:
            ids = self._read(file, lambda path: self._map(path, name, part.tokens))
            with self._lock:
                self._mapped[name] = ids
                while len(self._mapped) > _OPEN_FILES:
                    self._mapped.popitem(last=False)
        elif self._cache is not None:
            self._keep(name)
        return ids

    def expect(self, lang: str, split: str, now: Sequence[PartCount], soon: Sequence[PartCount]) -> None:
        """See PartSource."""
        if self._cache is not None:
            files = ([file for part in parts for file in self._files(lang, split, part)] for parts in (now, soon))
            self._cache.expect(shard_folder(lang, split), *files)

    def _files(self, lang: str, split: str, part: PartCount) -> tuple[File, File]:
        return self._index_file(lang, split, part), self._ids_file(lang, split, part)

    def _index_file(self, lang: str, split: str, part: PartCount) -> File:
        return f"{shard_folder(lang, split)}/{part.name}{INDEX}", _HEADER_BYTES + part.documents * RECORD.itemsize

    def _ids_file(self, lang: str, split: str, part: PartCount) -> File:
        return f"{shard_folder(lang, split)}/{part.name}{IDS}", part.tokens * self._dtype.itemsize

    def _read(self, file: File, read: Callable[[Path], T]) -> T:
        try:
            return read(self._folder.local(file[0])) if self._cache is None else self._cache.read(file, read)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(
                f"{self._folder.uri}/{file[0]} cannot be read at the moment ({error}); look at the disk, then run the"
                " same command again"
            ) from error

    def _keep(self, name: str) -> None:
        """Tell the cache that a mapped file is in use; one that another process removed is let go of."""
        assert self._cache is not None
        try:
            self._cache.touch(name)
        except FileNotFoundError:
            self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._mapped.pop(name, None)

    def _map(self, path: Path, name: str, tokens: int) -> Array:
        # In the cache a file that is not there raises, so that it is fetched again; in a local store it is torn.
        size = path.stat().st_size if path.is_file() or self._cache is not None else 0
        if size != tokens * self._dtype.itemsize:
            width = self._dtype.itemsize
            raise self._corrupt(name, f"has {size} bytes, its index says {tokens} tokens of {width} bytes")
        # An empty file cannot be mapped.
        if not size:
            return np.zeros(0, self._dtype)
        # The mapping has a descriptor of its own, so the file may be closed.
        with path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), self._dtype)

    def _corrupt(self, name: str, what: str) -> CorruptArtifact:
        where, again = self._folder.uri, "run python -m jobs.tokenize again"
        if self._cache is not None:
            copy = self._cache.path(name)
            return CorruptArtifact(
                f"{copy}, this machine's copy of {where}/{name}, {what}; delete the copy and run the same command"
                f" again; if that does not help, delete {where} too and {again}"
            )
        return CorruptArtifact(f"{where}/{name} {what}; delete {where} and {again}")
