"""Where the files of token parts are opened: one at a time, and only so many of them at once."""

from __future__ import annotations

import functools
import mmap
from typing import Any, Protocol

import numpy as np

from app.artifacts.layout import shard_folder
from app.artifacts.store import Folder
from app.core.errors import CorruptArtifact
from app.core.records import Array
from app.tokens.counts import PartCount
from app.tokens.index import RECORD

_OPEN_FILES = 512
"""An open file each, and a process may have 1,024 on many systems."""
IDS, INDEX = ".bin", ".npy"


class PartSource(Protocol):
    """The parts of a tokens stage, wherever their bytes are."""

    def index(self, lang: str, split: str, part: PartCount) -> Array:
        """The records of a part, (documents,) of ``RECORD``; not to be written to."""

    def ids(self, lang: str, split: str, part: PartCount) -> Array:
        """The token ids of a part, (tokens,) unsigned; not to be written to."""


class FolderParts:
    """Parts as files that are mapped into memory; a remote store's are fetched when they are first asked for.

    dtype: of the ids, little-endian. Both methods raise CorruptArtifact if a file does not hold what is counted.
    """

    def __init__(self, folder: Folder, dtype: np.dtype[Any]) -> None:
        self._folder, self._dtype = folder, dtype
        self._mapped = functools.lru_cache(maxsize=_OPEN_FILES)(self._map)

    def index(self, lang: str, split: str, part: PartCount) -> Array:
        """See PartSource."""
        path = self._folder.local(f"{shard_folder(lang, split)}/{part.name}{INDEX}")
        try:
            index: Array = np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise self._corrupt(str(path), f"cannot be read ({error})") from None
        if index.dtype != RECORD or (len(index), index["length"].sum()) != (part.documents, part.tokens):
            raise self._corrupt(str(path), f"does not list {part.documents} documents with {part.tokens} tokens")
        return index

    def ids(self, lang: str, split: str, part: PartCount) -> Array:
        """See PartSource."""
        return self._mapped(f"{shard_folder(lang, split)}/{part.name}{IDS}", part.tokens)

    def _map(self, name: str, tokens: int) -> Array:
        path = self._folder.local(name)
        size = path.stat().st_size if path.is_file() else 0
        if size != tokens * self._dtype.itemsize:
            raise self._corrupt(
                str(path), f"has {size} bytes, its index says {tokens} tokens of {self._dtype.itemsize} bytes"
            )
        if not size:
            return np.zeros(0, self._dtype)
        with path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), self._dtype)

    def _corrupt(self, path: str, what: str) -> CorruptArtifact:
        return CorruptArtifact(f"{path} {what}; delete {self._folder.uri} and run python -m jobs.tokenize again")
