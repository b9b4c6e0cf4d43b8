"""Live progress of a fleet: all together with the time left, then each model; to the log, or in place."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from app.artifacts.layout import METRICS
from app.core.errors import StorageError
from app.core.records import JsonObject
from app.core.units import format_count, format_seconds
from app.fleet.fleet import Fleet
from app.fleet.pace import Pace
from app.fleet.screen import InPlace
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)

_SECONDS, _SECONDS_REMOTE = 5.0, 30.0
"""Between two looks; a remote store has new metrics every half minute."""


def last_metrics(task: ModelTask) -> JsonObject | None:
    """The newest row of a model's metrics, None before its first step."""
    size = task.stage.child(METRICS).size_bytes()
    if not size:
        return None
    # The end of a file that grows with the run. The window may begin within a row, and a kill may end within one.
    end = task.stage.read_range(METRICS, max(0, size - 4096), size)
    lines = [line for line in end.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
    row: JsonObject | None = json.loads(lines[-1]) if lines else None
    return row


def progress_line(name: str, state: str, num_steps: int, row: JsonObject | None, speed: float = 0.0) -> str:
    """One model's line; ``row`` holds step, loss and tokens_seen. speed: tokens a second lately, 0 if not known."""
    if row is None:
        return f"{name:<10} {state}"
    step = int(str(row["step"]))
    tokens_left = float(str(row["tokens_seen"])) / max(step, 1) * (num_steps - step)
    pace = f"{format_count(speed):>6} tokens/s" if speed else ""
    left = f"{format_seconds(tokens_left / speed)} left" if speed and step < num_steps else ""
    at, loss = f"step {step:>6}/{num_steps:<6}", float(str(row["loss"]))
    return f"{name:<10} {state:<8} {at} loss {loss:.3f} {pace}  {left}".rstrip()


class ProgressBoard:
    """Prints the fleet's lines every few seconds while it is open; in place on a terminal.

    more: lines to show below the models', by the fleet's state; elsewhere than on a terminal those that have changed.
    """

    def __init__(
        self, tasks: Sequence[ModelTask], fleet: Fleet, more: Callable[[Fleet], Sequence[str]] | None = None
    ) -> None:
        self._tasks, self._fleet = tasks, fleet
        self._interval = _SECONDS if all(task.stage.is_local for task in tasks) else _SECONDS_REMOTE
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._more = more or (lambda _: ())
        self._said: set[str] = set()
        self._screen = InPlace()
        self._pace = Pace()
        self._begun_at: dict[str, int] = {}

    def __enter__(self) -> ProgressBoard:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()
        self._show()
        self._screen.leave()

    def show(self, fleet: Fleet) -> None:
        """Show these states from now on."""
        for task in self._tasks:
            if fleet.member(task.key).state != "running":
                self._begun_at.pop(task.key, None)
        # Never changed, only replaced by the driver's thread: the board's own needs no lock.
        self._fleet = fleet

    def lines(self, now: float) -> list[str]:
        """The line of all together, then one for each model. now: seconds of any steady clock."""
        models, seen, running = [], 0.0, dict[str, float]()
        # Nothing more comes of what was given up.
        lost = {member.key for member in self._fleet.given_up()}
        for task in self._tasks:
            state, row = self._fleet.member(task.key).state, last_metrics(task)
            tokens = _tokens_seen(task, state, row)
            seen += 0.0 if task.key in lost else tokens
            self._pace.see(task.key, now, tokens)
            if state == "running":
                running[task.key] = task.spec.budget_tokens - tokens
            shown = self._shown_state(task, state, row)
            models.append(progress_line(task.name, shown, task.spec.num_steps, row, self._pace.speed(task.key)))
        total = sum(task.spec.budget_tokens for task in self._tasks if task.key not in lost)
        return [self._together(total, seen, running), *models]

    def _shown_state(self, task: ModelTask, state: str, row: JsonObject | None) -> str:
        """``starting`` until a run has made its first step of its own."""
        if state != "running":
            return state
        step = int(str(row["step"])) if row else 0
        # A run that goes on from an older checkpoint does steps again that are logged already.
        begun_at = self._begun_at[task.key] = min(step, self._begun_at.get(task.key, step))
        return "running" if step > begun_at else "starting"

    def _together(self, total: int, seen: float, running: dict[str, float]) -> str:
        done = sum(self._fleet.member(task.key).state == "done" for task in self._tasks)
        left = self._pace.seconds_left(running, total - seen - sum(running.values()))
        time_left = f", about {format_seconds(left)} of this training left" if left is not None else ""
        share = f"{seen / total if total else 0:.0%} of {format_count(total)} tokens"
        return f"{done} of {len(self._tasks)} model{'s' * (len(self._tasks) != 1)} done, {share}{time_left}"

    def _watch(self) -> None:
        looks = 0
        while not self._closed.wait(self._interval):
            # Local metrics are looked at twice for each print, so that the pace has points enough.
            self._show(quiet=looks % 2 == 0 and self._interval == _SECONDS)
            looks += 1

    def _show(self, quiet: bool = False) -> None:
        """quiet: look, for the pace, but print only on a terminal, where lines are replaced."""
        try:
            together, *models = self.lines(time.monotonic())
        except StorageError as error:
            # Training does not depend on what is shown of it: the next look may succeed.
            if not quiet:
                log.warning("train: progress cannot be read now: %s", error)
            return
        more = self._more(self._fleet)
        if sys.stderr.isatty():
            self._screen.replace([f"train: {together}", *models, *more])
        elif not quiet:
            log.info("train: %s", together)
            for line in models:
                # The driver says itself when a model ends or fails.
                if " running " in line or line.endswith(" starting"):
                    log.info("train:   %s", line)
            for line in more:
                if line not in self._said:
                    log.info("train:   %s", line)
            self._said = set(more)


def _tokens_seen(task: ModelTask, state: str, row: JsonObject | None) -> float:
    if state == "done":
        return float(task.spec.budget_tokens)
    # Whole steps may come to a little more than the budget.
    return min(float(str(row["tokens_seen"])), task.spec.budget_tokens) if row else 0.0
