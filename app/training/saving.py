"""Saving in the background: the loop copies its state and goes on, a thread writes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol

from app.core.errors import StorageError
from app.training.state import State

log = logging.getLogger(__name__)

_WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between tries of a storage that fails: half a minute in all."""


class Checkpoints(Protocol):
    """Where states are kept; implemented by ``app.artifacts.checkpoints``."""

    def latest(self) -> Path | None:
        """Folder of the newest whole checkpoint."""

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Commit what ``write`` puts into a folder."""


class NoCheckpoints:
    """Nothing is kept: for probes and benchmarks that are cheaper to run again than to save."""

    def latest(self) -> Path | None:
        """There is none."""
        return None

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Nothing is saved."""


def save_fits(save_seconds: float, seconds: float) -> bool:
    """Whether a save that takes so long can be relied on to end in time: half as long again must fit."""
    return 1.5 * save_seconds < seconds


class Saver:
    """Saves one state at a time; the next one waits for the last. Close it by leaving its context.

    ``saves``: how many were begun. ``stalled_seconds``: how long training waited for saving in all. ``last_seconds``:
    how long the last save took from start to commit, None before the first.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        # One thread, so states are committed in the order of their steps.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._pending: Future[None] | None = None
        self.saves = 0
        self.stalled_seconds = 0.0
        self.last_seconds: float | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let a save under way end; its own error matters only if there is no other."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()

    def save(self, capture: Callable[[], State]) -> None:
        """Copy the state now and write it in the background. Raises what the save before failed with."""
        self.wait()
        started = time.monotonic()
        # `capture` runs here: in the thread it would copy weights that the next step is changing. After the wait, so
        # that no two copies are in memory.
        self._pending = self._pool.submit(self._commit, capture())
        self.saves += 1
        self.stalled_seconds += time.monotonic() - started

    def wait(self) -> None:
        """Wait until nothing is being saved. Raises what the save failed with: StorageError, LeaseLost."""
        if self._pending is None:
            return
        # Taken out first: a failure is told once, and closing does not raise it again.
        pending, self._pending = self._pending, None
        started = time.monotonic()
        try:
            pending.result()
        finally:
            self.stalled_seconds += time.monotonic() - started

    def fits(self, seconds: float) -> bool:
        """Whether one save can be expected to end within so many seconds; unknown before the first: try."""
        return self.last_seconds is None or save_fits(self.last_seconds, seconds)

    def _commit(self, state: State) -> None:
        started = time.monotonic()
        for wait in (*_WAITS_SECONDS, None):
            try:
                self._checkpoints.save(state.progress.step, state.write)
                break
            except StorageError as error:
                # Only this is tried again: a lease that another attempt has taken does not come back.
                if wait is None:
                    raise
                log.warning("%s: step %d: %s; next try in %g s", state.progress.key, state.progress.step, error, wait)
                time.sleep(wait)
        self.last_seconds = time.monotonic() - started
