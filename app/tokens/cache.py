"""Copies of the parts of a remote store on this machine: fetched ahead in threads, never more bytes than allowed.

All processes of a machine share the folder. What is used least recently goes first, and what this process is reading
or is about to read goes last. A file is under its own name only when it is whole.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from app.artifacts.store import Folder, StageFolder
from app.core.errors import StorageError

T = TypeVar("T")
File = tuple[str, int]
"""A file's name in the remote folder, and at most how many bytes it has."""

_THREADS = 16
_TRIES = 8
# Each read of a document touches its file; a system call every time would cost more than a finer order is worth.
_TOUCH_SECONDS = 5.0
# In all, for one file: fetches that hold the room end, or go on being replaced by others where the cache is too small.
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05
# A killed process ends no fetch: what it held is found by looking again.
_LOOK_SECONDS = 1.0
# A look reads the whole folder; what others use is marked every few seconds, so a newer one would see no more.
_OLD_LOOK_SECONDS = 1.0
_PARTIAL, _RESERVED, _LOCK = ".part", ".reserved", ".lock"
# How much a file is wanted: it takes the place only of those wanted less. A reader that waits ranks above all, so it
# gets its file even where the cache is smaller than the windows that are read.
_UNWANTED, _SOON, _NOW, _ASKED = range(4)


class PartCache:
    """A bounded cache of a remote folder's files. dropped: told the name of each file that has left it.

    The limit is ``remote.cache_bytes``: of a stage's folder, for all stages of its kind together.
    """

    def __init__(self, remote: Folder, dropped: Callable[[str], None]) -> None:
        own = Path(tempfile.gettempdir()) / "xelm-cache" / uuid.uuid4().hex / "parts"
        self._remote, self._place, self._dropped = remote, Path(remote.cache) if remote.cache else own, dropped
        self._root = self._place.parent if isinstance(remote, StageFolder) else self._place
        self._limit = remote.cache_bytes
        # Apart, so that `expect` never waits for the folder's lock, which another process may hold. Whoever takes both
        # takes _disk first.
        self._lock, self._disk = threading.Lock(), threading.Lock()
        self._arriving: dict[str, Future[bool]] = {}
        self._now: dict[str, frozenset[str]] = {}
        self._soon: dict[str, frozenset[str]] = {}
        self._touched: dict[str, float] = {}
        self._held: dict[Path, tuple[int, int]] = {}
        self._changes = 0
        self._looked = -_OLD_LOOK_SECONDS
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="parts")

    def expect(self, reader: str, now: Sequence[File], soon: Sequence[File]) -> None:
        """Say what a reader reads from here on, and what it will read then: it is fetched as far as there is room."""
        with self._lock:
            self._now[reader] = frozenset(name for name, _ in now)
            self._soon[reader] = frozenset(name for name, _ in soon)
        for file in (*now, *soon):
            self._pool.submit(self._fetch_ahead, file)

    def read(self, file: File, read: Callable[[Path], T]) -> T:
        """Read a file by its local copy, which is fetched first if it is not there. Raises StorageError."""
        (name, _), deadline, tries = file, time.monotonic() + _WAIT_SECONDS, 0
        while tries < _TRIES:
            with suppress(FileNotFoundError):  # another process of this machine may remove it in between
                self.touch(name)
                return read(self._place / name)
            # This may only join a fetch ahead that finds no room; the next turn then asks for itself.
            if self._fetch(file, _ASKED) or time.monotonic() >= deadline:
                tries += 1
            else:
                self._await_room(deadline)
        raise StorageError(
            f"{self._root} is too small for the processes that share it: {name} found no room in {_WAIT_SECONDS:.0f} s,"
            f" or left it {_TRIES} times before it was read; raise artifacts.cache_bytes ({self._limit})"
        )

    def path(self, name: str) -> Path:
        """Where the copy of a file is, or would be."""
        return self._place / name

    def touch(self, name: str) -> None:
        """Remember that a file is in use. Raises FileNotFoundError if it has left the cache."""
        now = time.monotonic()
        if now - self._touched.get(name, -_TOUCH_SECONDS) >= _TOUCH_SECONDS:
            os.utime(self._place / name)
            self._touched[name] = now
            with self._disk:
                if (path := self._place / name) in self._held:
                    self._held[path] = (time.time_ns(), self._held[path][1])

    def _fetch_ahead(self, file: File) -> None:
        rank = self._rank(file[0])
        if rank > _UNWANTED and not (self._place / file[0]).exists():
            with suppress(StorageError):  # whoever needs it meets the error, and is told
                self._fetch(file, rank)

    def _await_room(self, deadline: float) -> None:
        """Wait until a fetch ends that holds room, of this process or another."""
        with self._disk:
            reserved = [path for path in self._held if path.suffix == _RESERVED]
        until = min(deadline, time.monotonic() + _LOOK_SECONDS)
        while time.monotonic() < until and all(path.exists() for path in reserved):
            time.sleep(_POLL_SECONDS)

    def _fetch(self, file: File, rank: int) -> bool:
        """Fetch a file, or wait until another thread has; False if there was no room for it.

        rank: only what is wanted less may go for it.
        """
        with self._lock:
            arriving = self._arriving.get(file[0])
            if arriving is None:
                mine: Future[bool] = Future()
                self._arriving[file[0]] = mine
        if arriving is not None:
            # Its thread runs already and is not queued, so that waiting cannot block a pool of few threads for ever.
            return arriving.result()
        try:
            had_room = self._copy(file, rank)
            mine.set_result(had_room)
            return had_room
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._arriving[file[0]]

    def _copy(self, file: File, rank: int) -> bool:
        name, size = file
        path = self._place / name
        # Unique, since another process may be fetching the same file.
        unique = f"{path.name}.{uuid.uuid4().hex}"
        partial, reserved = path.with_name(unique + _PARTIAL), path.with_name(unique + _RESERVED)
        with ExitStack() as until_fetched:
            with self._alone():
                if path.exists():
                    return True
                if not self._make_room(size, rank):
                    return False
                path.parent.mkdir(parents=True, exist_ok=True)
                # A sparse file, so that other processes count the whole size while the bytes are still on their way;
                # locked, so that they see whether this process lives.
                reservation = until_fetched.enter_context(reserved.open("wb"))
                fcntl.flock(reservation, fcntl.LOCK_EX)
                reservation.truncate(size)
                self._held[reserved] = (time.time_ns(), size)
            try:
                # Outside the folder's lock, under which all processes of the machine would wait for this download.
                self._remote.fetch(name, partial)
                with self._alone():
                    partial.replace(path)
                    self._held[path] = (time.time_ns(), path.stat().st_size)
                    self._unreserve(reserved)
            except BaseException:
                partial.unlink(missing_ok=True)
                with self._alone():
                    self._unreserve(reserved)
                raise
        return True

    def _unreserve(self, reserved: Path) -> None:
        reserved.unlink(missing_ok=True)
        self._held.pop(reserved, None)

    def _make_room(self, size: int, rank: int) -> bool:
        """Remove files until ``size`` more bytes may be here; False, with nothing removed, if too few may go."""
        if size > self._limit:
            raise StorageError(
                f"a part of {size} bytes does not fit into {self._root}; raise artifacts.cache_bytes ({self._limit})"
            )
        if size + self._total() > self._limit and time.monotonic() - self._looked >= _OLD_LOOK_SECONDS:
            # Without a change that counts, others touch what they use, and a killed one lets go of what it held.
            self._look()
        leaving, total = [], size + self._total()
        if total > self._limit:
            rank_of = self._ranking()
            for wanted, _, path in sorted((rank_of(self._name(p)), used, p) for p, (used, _) in self._held.items()):
                if total <= self._limit or wanted >= rank:
                    break
                # What is on its way cannot be taken back.
                if path.suffix != _RESERVED:
                    leaving.append(path)
                    total -= self._held[path][1]
        if total > self._limit:
            return False
        # A process that has one of them mapped reads on: its pages stay until it lets go.
        for path in leaving:
            path.unlink(missing_ok=True)
            del self._held[path]
            self._has_left(path)
        return True

    def _total(self) -> int:
        return sum(size for _, size in self._held.values())

    def _has_left(self, path: Path) -> None:
        self._touched.pop(self._name(path), None)
        self._dropped(self._name(path))

    def _look(self) -> None:
        """See what is here and what has left; what killed processes were fetching goes."""
        before, self._held, self._looked = self._held, {}, time.monotonic()
        for path in self._root.rglob("*"):
            # A partial file is counted by its reservation.
            if path.suffix == _PARTIAL or path.name == _LOCK:
                continue
            with suppress(FileNotFoundError):
                if path.suffix == _RESERVED and _is_unlocked(path):
                    # The reservation last: killed in between, the next one who looks finds both.
                    path.with_suffix(_PARTIAL).unlink(missing_ok=True)
                    path.unlink()
                elif path.is_file():
                    status = path.stat()
                    self._held[path] = (status.st_mtime_ns, status.st_size)
        # Else what another process removed would stay mapped here, and on the disk.
        for path in before.keys() - self._held.keys():
            if path.suffix != _RESERVED:
                self._has_left(path)

    def _name(self, path: Path) -> str:
        # By strings: pathlib took most of the time of a fetch, since all that is held is named for each.
        place, whole = f"{self._place}/", str(path)
        return whole[len(place) :] if whole.startswith(place) else ""

    def _rank(self, name: str) -> int:
        return self._ranking()(name)

    def _ranking(self) -> Callable[[str], int]:
        """How much each file is wanted at this moment."""
        with self._lock:
            now, soon = (frozenset().union(*wanted.values()) for wanted in (self._now, self._soon))
        return lambda name: _NOW if name in now else _SOON if name in soon else _UNWANTED

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process of this machine at a time; the lock counts the changes, so each knows what is here.

        A byte is added to it for each.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with self._disk, (self._root / _LOCK).open("a+b") as lock:
            # The kernel releases it when its process is killed, so that none is left behind.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_size != self._changes or not self._changes:
                self._look()
            # Before the change: if this process is killed in the middle of it, the others look for themselves.
            lock.write(b".")
            lock.flush()
            self._changes = os.fstat(lock.fileno()).st_size
            yield


def _is_unlocked(path: Path) -> bool:
    """Whether no process holds a lock on this file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
