"""A Hub without a network: an fsspec file system in memory that fails as the real one does."""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Mapping, Sequence
from typing import Any


class _Torn(io.BytesIO):
    """Fails when read past a position; seeks like a remote file."""

    def __init__(self, data: bytes, fails_at: int) -> None:
        super().__init__(data)
        self._fails_at = fails_at

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._fails_at:
            raise ConnectionResetError("connection reset")
        return super().read(min(self._fails_at - self.tell(), size if size and size > 0 else 1 << 30))


class FakeHub:
    """Files by address; it fails a number of times before each listing and each file works."""

    def __init__(self, files: Mapping[str, bytes], failures: int = 0, torn_at: Sequence[int] = ()) -> None:
        self.files = dict(files)
        self.failures = failures
        self.torn_at = list(torn_at)
        self.opened: list[str] = []
        self._failed: dict[str, int] = {}

    def _maybe_fail(self, what: str) -> None:
        self._failed[what] = self._failed.get(what, 0) + 1
        if self._failed[what] <= self.failures:
            raise FileNotFoundError(f"429 for {what}")  # how a rate limit may look

    def ls(self, path: str, detail: bool) -> list[dict[str, Any]]:
        assert detail
        self._maybe_fail(path)
        below = [file.removeprefix(f"{path}/") for file in self.files if file.startswith(f"{path}/")]
        kinds = {name.partition("/")[0]: "directory" if "/" in name else "file" for name in sorted(below)}
        return [{"name": f"{path}/{name}", "type": kind} for name, kind in kinds.items()]

    def glob(self, pattern: str, detail: bool) -> dict[str, dict[str, Any]]:
        assert detail
        self._maybe_fail(pattern)
        return {
            path: {"size": len(data)}
            for path, data in self.files.items()
            if fnmatch.fnmatch(path, pattern) and path.count("/") == pattern.count("/")
        }

    def open(self, path: str, mode: str) -> io.BytesIO:
        assert mode == "rb"
        self._maybe_fail(path)
        self.opened.append(path)
        return _Torn(self.files[path], self.torn_at.pop(0)) if self.torn_at else io.BytesIO(self.files[path])
