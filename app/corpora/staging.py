"""Files of a Hub data set at a pinned revision: listed with retries, downloaded once, never half a file."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from app.core.errors import CorpusError

log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 60.0
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class HubFiles:
    """One data set.

    ``open_hub`` returns the fsspec file system, ``sleep`` waits between tries, ``hint`` ends the error's message.
    """

    repository: str
    revision: str
    staging: Path
    retries: int
    retry_wait_seconds: float
    open_hub: Callable[[], Any]
    sleep: Callable[[float], None]
    hint: str = ""

    @property
    def place(self) -> str:
        """Address of the data set at its revision."""
        return f"{self.repository}@{self.revision}"

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder, sorted. Raises CorpusError after the last try."""
        place = f"{self.place}/{folder}".rstrip("/")
        details = self._retry(lambda: self.open_hub().ls(place, detail=True), place)
        return sorted(str(info["name"]).rpartition("/")[2] for info in details if info["type"] == "directory")

    def sizes(self, pattern: str) -> Mapping[str, int | None]:
        """Address and bytes of the files that match. Raises CorpusError after the last try."""
        place = f"{self.place}/{pattern}"
        details = self._retry(lambda: self.open_hub().glob(place, detail=True), place)
        return {path: info.get("size") for path, info in details.items()}

    def stage(self, uri: str, size_bytes: int | None, name: str) -> Path:
        """Local copy of one file under ``<staging>/<revision>/<name>``, downloaded once.

        A failed or killed download goes on where it stopped; a file is under its own name only when it is whole.
        Two runs with one staging folder wait for each other. Raises CorpusError after the last try.
        """
        target = self.staging / self.revision / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._retry(functools.partial(self._download, uri, size_bytes, target), uri)
        return target

    @contextmanager
    def staged(self, uri: str, size_bytes: int | None, name: str) -> Iterator[Path]:
        """The local copy of one file, see ``stage``, which no other run removes while it is read."""
        target = self.stage(uri, size_bytes, name)
        # Another run may remove it before it is locked: then it is downloaded once more.
        while (copy := _locked(target)) is None:
            self.stage(uri, size_bytes, name)
        with copy:
            yield target

    def remove(self, name: str) -> None:
        """Remove the local copy of one file if there is one and no other run reads it."""
        target = self.staging / self.revision / name
        with suppress(FileNotFoundError, BlockingIOError), target.open("rb") as copy:
            fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may be a new one by now, which has a lock of its own.
            if _is_at(copy, target):
                target.unlink()

    def _download(self, uri: str, size_bytes: int | None, target: Path) -> None:
        partial = target.with_name(f"{target.name}.partial")
        # Appended to: it opens where earlier tries have ended. A process that is killed lets go of the lock.
        with partial.open("ab") as copy:
            fcntl.flock(copy, fcntl.LOCK_EX)
            if target.exists():  # another run was quicker, and may have renamed the very file we hold
                partial.unlink(missing_ok=True)
                return
            # Where the file ends now: another run may have gone on with it while this one waited for the lock.
            copy.seek(0, os.SEEK_END)
            with self.open_hub().open(uri, "rb") as source:
                if done := copy.tell():
                    source.seek(done)
                shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            # Else a crash of the machine could leave the full name with less than the file.
            os.fsync(copy.fileno())
            size = copy.tell()
            if size_bytes is not None and size > size_bytes:
                # Too long cannot be mended by going on: the next try begins anew.
                copy.truncate(0)
            if size_bytes is not None and size != size_bytes:
                raise OSError(f"got {size} of {size_bytes} bytes")
            partial.rename(target)

    def _retry(self, action: Callable[[], _Result], what: str) -> _Result:
        """Run ``action`` until it succeeds, waiting twice as long each time, at most a minute.

        The Hub answers too many requests with errors of several kinds, "file not found" among them, so every
        OSError is tried again. Raises CorpusError after the last try, naming the file and the number of tries.
        """
        wait = self.retry_wait_seconds
        for number in range(1, self.retries + 1):
            try:
                return action()
            except _transient_errors() as error:
                if number == self.retries:
                    raise CorpusError(
                        f"{what}: given up after {number} tries, the last error: {type(error).__name__}: {error};"
                        " check the network, or raise corpus.retries; what was downloaded is kept"
                        f"{self.hint and f' ({self.hint})'}"
                    ) from error
                log.warning("%s: try %d failed (%s); next in %.0f s", what, number, error, wait)
            self.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        raise CorpusError(f"corpus.retries is {self.retries}; it must be at least 1")


def _locked(path: Path) -> BinaryIO | None:
    """The file, opened and locked against removal; None if it has been removed."""
    with suppress(FileNotFoundError):
        file = path.open("rb")
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            if _is_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()
    return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())


def hub_filesystem() -> Any:
    """The Hub as an fsspec file system."""
    from huggingface_hub import HfFileSystem  # imported late: only a corpus from the Hub needs it

    return HfFileSystem()


def _transient_errors() -> tuple[type[Exception], ...]:
    """OSError, and what the Hub client's HTTP library raises: the base of the client's own error, whatever it is."""
    from huggingface_hub.errors import HfHubHTTPError  # imported late, as above

    return (OSError, *HfHubHTTPError.__bases__)
