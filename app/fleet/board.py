"""Live progress of a fleet: expert, state, step, tokens/s, loss, time left; one line each, to the log."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Sequence
from types import TracebackType

from app.artifacts.layout import METRICS
from app.core.records import JsonObject
from app.core.units import format_count, format_seconds
from app.fleet.control import metrics_rows
from app.fleet.fleet import Fleet
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)

_SECONDS, _SECONDS_REMOTE = 5.0, 30.0
"""Between two looks; a remote store has new metrics every half minute."""


def last_metrics(task: ModelTask) -> JsonObject | None:
    """The newest row of a model's metrics, None before its first step."""
    if not task.stage.exists(METRICS):
        return None
    if not task.stage.is_local:
        rows = metrics_rows(task.stage)
        return rows[-1] if rows else None
    with task.stage.local(METRICS).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))
        lines = [line for line in file.read().splitlines() if line.startswith(b"{") and line.endswith(b"}")]
    row: JsonObject | None = json.loads(lines[-1]) if lines else None
    return row


def progress_line(name: str, state: str, num_steps: int, row: JsonObject | None) -> str:
    """One expert's line; ``row`` holds step, tokens_per_second, loss and tokens_seen."""
    if row is None:
        return f"{name:<10} {state:<8}"
    step, speed = int(str(row["step"])), float(str(row["tokens_per_second"]))
    tokens_left = float(str(row["tokens_seen"])) / max(step, 1) * (num_steps - step)
    eta = f"ETA {format_seconds(tokens_left / speed)}" if speed and step < num_steps else ""
    return (
        f"{name:<10} {state:<8} step {step:>6}/{num_steps:<6} {format_count(speed):>6} tokens/s"
        f"  loss {float(str(row['loss'])):.3f}  {eta}"
    ).rstrip()


class ProgressBoard:
    """Prints the fleet's lines every few seconds while it is open; in place on a terminal."""

    def __init__(self, tasks: Sequence[ModelTask], fleet: Fleet) -> None:
        self._tasks, self._fleet = tasks, fleet
        self._interval = _SECONDS if all(task.stage.is_local for task in tasks) else _SECONDS_REMOTE
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._height = 0

    def __enter__(self) -> ProgressBoard:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()
        self._show()

    def show(self, fleet: Fleet) -> None:
        """Show these states from now on."""
        self._fleet = fleet

    def lines(self) -> list[str]:
        """Current lines, one per model."""
        return [
            progress_line(task.name, self._fleet.member(task.key).state, task.spec.num_steps, last_metrics(task))
            for task in self._tasks
        ]

    def _watch(self) -> None:
        while not self._closed.wait(self._interval):
            self._show()

    def _show(self) -> None:
        lines = self.lines()
        if sys.stderr.isatty():
            up = f"\x1b[{self._height}F" if self._height else ""
            sys.stderr.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
            self._height = len(lines)
            return
        for line in lines:
            if " running " in line:
                log.info("train: %s", line)
