"""What a job shows on stderr: log lines without secrets and without library noise, and a sign of life in silence."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, TextIO

from app.core.redact import redact
from app.fleet.screen import above_lines

log = logging.getLogger(__name__)

_SILENCE_SECONDS = 12.0
_NOISY = ("httpx", "fsspec", "urllib3", "filelock", "matplotlib", "ray", "transformers", "mlflow", "alembic")
_QUIET_ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",  # bars of libraries would stand between the lines
}


def set_up_logging() -> None:
    """Log to stderr, of noisy libraries only warnings; call it before they are imported: some obey the environment."""
    for name, value in _QUIET_ENVIRONMENT.items():
        # What the user has set stays.
        os.environ.setdefault(name, value)
    shown = _ToStderr()
    shown.setFormatter(_Redacting("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[shown])
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def signs_of_life(seconds: float = _SILENCE_SECONDS) -> Iterator[None]:
    """Meanwhile a line is logged whenever nothing was written to stderr for so long; it names what was last said."""
    watched, closed = _Watched(sys.stderr), threading.Event()

    def watch() -> None:
        while not closed.wait(min(1.0, seconds / 2)):
            if time.monotonic() - watched.when >= seconds:
                silent = time.monotonic() - watched.since
                log.info("still working, %.0fs since: %s", silent, watched.said or "the start")

    thread = threading.Thread(target=watch, name="signs-of-life", daemon=True)
    with redirect_stderr(watched):
        thread.start()
        try:
            yield
        finally:
            closed.set()
            thread.join()


class _Watched:
    """A stream that knows when and what was last written to it; signs of life are no news."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.when = self.since = time.monotonic()
        self.said = ""

    def write(self, text: str) -> int:
        """Pass it on."""
        self.when = time.monotonic()
        if text.strip() and "still working, " not in text:
            # Behind the first space, because a line of the log begins with the time.
            self.since, self.said = self.when, text.strip().splitlines()[-1].partition(" ")[2][:100]
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """See Handler."""
        # A handler keeps the stream that it was made with, but signs_of_life has put another in its place since.
        self.stream = sys.stderr
        with above_lines():
            super().emit(record)


class _Redacting(logging.Formatter):
    """What a library says may hold what a configuration may not."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))
