"""How a job fails: one line that says what and what to do, and an exit status; never a traceback."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress

from app.core.errors import ConfigError, Interrupted, Preempted, XelmError
from app.core.redact import redact

STATUSES: dict[type[BaseException], int] = {
    ConfigError: 2,
    Interrupted: 130,
    KeyboardInterrupt: 130,
    Preempted: 75,
    XelmError: 1,
}
"""The first that fits. 75 is sysexits' TEMPFAIL: run the same command again; 130 is a shell's for Ctrl-C."""


def explain(error: BaseException, job: str) -> tuple[str, int]:
    """What to print about an error that ended a job, and the exit status.

    An error of ours is found below what Ray and other libraries wrap it in. Of any other the traceback goes into a
    file, which is named.
    """
    for cause in _causes(error):
        if isinstance(cause, KeyboardInterrupt):
            said = f"{cause or 'interrupted'}; run the same command again to continue"
            return said, getattr(cause, "status", STATUSES[KeyboardInterrupt])
        # Ray's error of a task is also of its cause's class, but its message is a remote traceback: ours is below it.
        if isinstance(cause, XelmError) and not hasattr(cause, "cause"):
            status = next(status for kind, status in STATUSES.items() if isinstance(cause, kind))
            return str(redact(str(cause))), status
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            where = " and ".join(str(name) for name in (cause.filename, cause.filename2) if name)
            said = f"{cause.strerror}{': ' if where else ''}{where}; check that place, its rights and the space there"
            return str(redact(said)) + _kept(error, job), 1
    innermost = list(_causes(error))[-1]
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    said = f"{type(innermost).__name__}: {lines[0] if lines else 'no message'}"
    return str(redact(said)) + _kept(error, job), 1


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; Ray keeps the error of a task as ``cause``."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        inner = getattr(at, "cause", None)
        # Not __context__: what `raise ... from None` hides is not the reason.
        at = inner if isinstance(inner, BaseException) else at.__cause__


def _kept(error: BaseException, job: str) -> str:
    """Where the traceback has been written; nothing if it could not be."""
    with suppress(OSError):  # a full disk must not hide the error itself
        handle, path = tempfile.mkstemp(prefix=f"xelm-{job}-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(str(redact("".join(traceback.format_exception(error)))))
        return f" (for a report of a fault, all of it stands in {path})"
    return ""
