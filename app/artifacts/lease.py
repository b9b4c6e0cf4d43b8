"""Who works on a folder of the store: a file with a heartbeat, on any filesystem, so that nothing is done twice.

Whoever waits watches the beats with its own clock; only ``is_alive``, which tells people, compares clocks of machines.
Not a lock for correctness: what is written is safe anyway (atomic files, leases of checkpoints), it would only be
wasted or refused.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.artifacts.layout import LEASE
from app.artifacts.store import Folder, StageFolder
from app.core.errors import ArtifactError, MissingArtifact, StorageError
from app.core.records import JsonObject

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
# A storage that is away for some beats must not cost the lease of one who works.
_DEAD_AFTER_BEATS = 6
_SETTLE_SECONDS = 0.5
"""Between taking a lease and believing it: of two who write at the same time, the last one's stays."""


@contextmanager
def held(folder: Folder, name: str, what: str) -> Iterator[None]:
    """Hold the lease ``name`` in the folder; wait while another does, saying so. what: for that message."""
    host = socket.gethostname()
    mine: JsonObject = {"id": uuid.uuid4().hex, "host": host, "place": _place(), "pid": os.getpid(), "what": what}
    _take(folder, name, mine)
    closed = threading.Event()
    thread = threading.Thread(target=_beat, args=(folder, name, mine, closed), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
        with suppress(ArtifactError):
            if _holder(folder, name).get("id") == mine["id"]:
                folder.remove(name)  # another may have taken it over meanwhile: then it is not ours to remove


@contextmanager
def left_to_make(stage: StageFolder, what: str) -> Iterator[bool]:
    """Whether a stage is still to be made; meanwhile no other run makes it. what: as for ``held``."""
    if stage.is_complete:
        yield False
        return
    with held(stage, LEASE, what):
        yield not stage.is_complete


def is_alive(holder: JsonObject) -> bool:
    """Whether the holder that a lease names still works: it has beaten lately, and where it ran here it still runs."""
    if holder.get("place") == _place() and not _runs(int(str(holder["pid"]))):
        return False
    return time.time() - float(str(holder["time"])) < _DEAD_AFTER_BEATS * BEAT_SECONDS


def read_holder(folder: Folder, name: str) -> JsonObject | None:
    """What the lease says: host, pid, what, time of the newest beat; None where nobody holds or held it."""
    return _holder(folder, name) or None


def _take(folder: Folder, name: str, mine: JsonObject) -> None:
    said = 0.0
    while True:
        if (holder := _living(folder, name)) is None:
            folder.write_json(name, {**mine, "time": time.time()})
            time.sleep(_SETTLE_SECONDS)
            if _holder(folder, name).get("id") == mine["id"]:
                return
        elif time.monotonic() - said > 10:
            said = time.monotonic()
            log.info("waiting: %s works at this on %s (process %s)", holder["what"], holder["host"], holder["pid"])


def _living(folder: Folder, name: str) -> JsonObject | None:
    """The holder, after a beat that showed that it lives; None if there is none or it is dead."""
    first = _holder(folder, name)
    began = time.monotonic()
    while first and time.monotonic() - began < _DEAD_AFTER_BEATS * BEAT_SECONDS:
        if first.get("place") == _place() and not _runs(int(str(first["pid"]))):
            return None
        time.sleep(_SETTLE_SECONDS)
        try:
            now = _holder(folder, name)
        except StorageError:  # away for a moment: no news of the holder
            continue
        # A new beat has another time, a new holder another id; gone means free.
        if not now or now != first:
            return now or None
    if first:
        log.info("%s on %s no longer answers: taking over", first["what"], first["host"])
    return None


def _place() -> str:
    """Where a process number means the same process: this machine and, in containers, this namespace."""
    space = ""
    with suppress(OSError):  # not on every system
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}"


def _holder(folder: Folder, name: str) -> JsonObject:
    # Not asked for first: whoever holds it may remove it between the question and the reading.
    with suppress(MissingArtifact):
        return folder.read_json(name)
    return {}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it runs, as another user
    return True


def _beat(folder: Folder, name: str, mine: JsonObject, closed: threading.Event) -> None:
    """Renew the lease; a storage that is away for a moment is tried again at the next beat."""
    while not closed.wait(BEAT_SECONDS):
        with suppress(ArtifactError):
            if _holder(folder, name).get("id") != mine["id"]:
                log.warning("another process has taken over %s/%s", folder.uri, name)
                return
            folder.write_json(name, {**mine, "time": time.time()})
