"""What happens beside the loop: metrics to a file, a polite stop. Trackers are in ``trackers``."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol

from app.core.errors import Preempted, StorageError
from app.training.progress import training_progress

log = logging.getLogger(__name__)

_PATIENCE = 50
"""Seconds between two sends for each that the last one took."""


@dataclass(frozen=True)
class StepMetrics:
    """One optimizer step. ``loss`` in nats per token, ``seconds`` since this attempt started, ``time`` Unix."""

    step: int
    tokens_seen: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds: float
    time: float


class Hook(Protocol):
    """Called by the loop: once at the start with the step resumed from, then with each logged step, then closed."""

    def start(self, step: int) -> None:
        """Training continues after ``step`` finished steps."""

    def step(self, metrics: StepMetrics) -> None:
        """One step is done."""

    def close(self) -> None:
        """Training has ended, by success or failure."""


class MetricsFile:
    """Appends one JSON line per logged step; on resume, lines beyond the resumed step are dropped.

    Each line also holds ``seconds_before``: what the attempts before this one have trained, what is dropped included,
    up to the last line of each; what a killed one did after it is not known.

    The file is replaced at the start and held open: an orphaned attempt goes on writing into the one that it replaced.
    What a full disk refuses is kept in memory and written with the next step.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._unwritten = b""
        self.seconds_before = 0.0
        """Training of all attempts before this one."""

    def start(self, step: int) -> None:
        """Keep only what the resumed state has seen."""
        rows = self._path.read_text().splitlines() if self._path.exists() else []
        # A kill may tear the last line. Rows are flat, so only a whole one ends with a brace.
        whole = [json.loads(row) for row in rows if row.endswith("}")]
        # Before any is dropped: work that has to be done again has taken its time too.
        before = training_progress(whole)
        self.seconds_before = before.worker_seconds if before else 0.0
        kept = [row for row in whole if row["step"] <= step]
        if kept:
            # So that the next attempt finds it if this one ends before its first line.
            kept[-1]["seconds_before"] = self.seconds_before - kept[-1]["seconds"]
        partial = self._path.with_suffix(".tmp")
        partial.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
        # Opened before the rename, so what is held is surely our file. Without a buffer a kill loses no finished line,
        # and a full disk says how many bytes it took.
        self._file = partial.open("ab", buffering=0)
        partial.replace(self._path)

    def step(self, metrics: StepMetrics) -> None:
        """Append one line."""
        row = {**asdict(metrics), "seconds_before": self.seconds_before}
        self._unwritten += (json.dumps(row) + "\n").encode()
        self._write()

    def close(self) -> None:
        """Close the file; what it could not take until now is lost, and said to be."""
        if self._file is not None:
            self._write()
            self._file.close()
        if self._unwritten:
            log.warning("%s: the last %d lines are lost", self._path, self._unwritten.count(b"\n"))

    def _write(self) -> None:
        assert self._file is not None
        try:
            while self._unwritten:
                # A disk that fills up takes a part of the line; the rest must follow it and not the line anew.
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
        except OSError as error:
            log.warning("%s: %s; its lines are kept until there is room", self._path, error)


class NowAndThen:
    """Calls ``send`` at most every ``seconds``: what is logged on this machine becomes visible to others meanwhile.

    Less often where it takes long, so that it never costs more than 1 / ``_PATIENCE`` of the training.
    """

    def __init__(self, send: Callable[[], None], seconds: float = 30.0) -> None:
        self._send, self._seconds = send, seconds
        self._due = time.monotonic() + seconds

    def start(self, step: int) -> None:
        """Nothing has been logged yet."""

    def step(self, metrics: StepMetrics) -> None:
        """Send if it is time; a storage that fails is tried again at the next turn."""
        began = time.monotonic()
        if began >= self._due:
            with suppress(StorageError):
                self._send()
            # Counted from the end: a storage that answers late or never is not waited for at every step.
            ended = time.monotonic()
            self._due = ended + max(self._seconds, _PATIENCE * (ended - began))

    def close(self) -> None:
        """The last state is sent by whoever opened this."""


class StopRequest:
    """Set from another thread or a signal handler; the loop then saves, if there is time, and raises Preempted."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._reason = ""
        self._deadline = math.inf

    def ask(self, reason: str, deadline: float = math.inf) -> None:
        """Ask the loop to save and stop at the next step boundary. deadline: Unix time at which the machine goes."""
        # Before the event: the loop reads both as soon as it sees that a stop is asked for.
        self._reason, self._deadline = reason, deadline
        self._asked.set()

    def ask_too(self, deadline: float) -> None:
        """Another worker of the model was asked: stop with it, by the earlier deadline."""
        self._reason = self._reason or "another of its workers was asked to"
        self._deadline = min(self._deadline, deadline)
        self._asked.set()

    @property
    def deadline(self) -> float:
        """Unix time at which the machine goes; infinite where none is known."""
        return self._deadline

    @property
    def seconds_left(self) -> float:
        """Time until the machine goes."""
        return self._deadline - time.time()

    @property
    def is_asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def raise_preempted(self, step: int, saved: int) -> None:
        """Raise Preempted, saying why and where training stopped and what is saved."""
        lost = f", too late to save: the newest checkpoint is step {saved}" if saved < step else ""
        raise Preempted(f"stopped after step {step}{lost}: {self._reason}; run the same command again to continue")


@contextmanager
def running(hooks: Sequence[Hook], step: int) -> Iterator[None]:
    """Start the hooks and close all of them at the end, whatever happened."""
    with ExitStack() as opened:
        for hook in hooks:
            # Before the start: a hook that fails half-way through it may hold something open.
            opened.callback(hook.close)
            hook.start(step)
        yield
