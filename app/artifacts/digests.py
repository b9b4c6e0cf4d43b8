"""Digests of files, and a memory of them: a seed of many gigabytes is read once, not once a command."""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import suppress
from pathlib import Path

from app.artifacts.store import Folder

MEMORY = "digests.json"


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_digest(folder: Folder | Path) -> str:
    """SHA-256 over all safetensors files of a model's folder, in the order of their names; as they are stored now."""
    place, digest = folder if isinstance(folder, Folder) else Folder(str(folder)), hashlib.sha256()
    for name in place.names():
        if name.endswith(".safetensors"):
            # hashlib.file_digest takes one file; this is one digest over several, and none may fit into memory.
            for block in place.read_blocks(name, 1 << 20):
                digest.update(block)
    return digest.hexdigest()


class DigestMemory:
    """Digests by path, size and time of change, kept in a small file of this machine's cache folder.

    A file that was changed in place has another time, and is read again. What cannot be kept is only slower.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / MEMORY

    def digest(self, file: Path) -> str:
        """SHA-256 of a file; from memory if neither its size nor its time has changed."""
        # Before it is read: what is changed meanwhile has another time at the next call.
        about = file.stat()
        place, state = str(file.resolve()), [about.st_size, about.st_mtime_ns]
        known = self._read()
        if (entry := known.get(place)) is not None and entry[:2] == state:
            return str(entry[2])
        found = file_digest(file)
        # Read anew: while gigabytes were hashed another process may have added its own.
        self._keep({**self._read(), place: [*state, found]})
        return found

    def _read(self) -> dict[str, list[int | str]]:
        with suppress(OSError, ValueError):
            known = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(known, dict):
                return known
        return {}

    def _keep(self, known: dict[str, list[int | str]]) -> None:
        with suppress(OSError):  # a cache folder that cannot be written costs time, nothing else
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False, encoding="utf-8") as partial:
                json.dump(known, partial)
            Path(partial.name).replace(self._file)
