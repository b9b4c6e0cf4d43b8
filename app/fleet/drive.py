"""Driving a fleet: start what fits, wait for one to end, repeat. Ray is behind ``Machines``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from app.core.errors import TrainingError
from app.core.records import JsonObject
from app.core.redact import redact
from app.core.units import format_count, format_seconds
from app.fleet.capacity import Shortage
from app.fleet.fleet import Fleet
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_WORDS = 10.0
_HOPELESS_SECONDS = 60.0
"""Machines that were lost and are put back by something other than Ray's autoscaler may take that long."""
_HEADING = "Error Snippet]"


class Machines(Protocol):
    """Where runs happen."""

    def slots(self) -> int:
        """How many runs fit now; asked again each second: a cluster may grow and shrink."""

    def start(self, task: ModelTask) -> Future[JsonObject]:
        """Begin one run. Its result is the finished model's counts, or ``preempted``, ``taken`` or ``failed`` with the
        reason; its exception a process that was lost.
        """

    def taken_by(self, task: ModelTask) -> str:
        """Name of another run whose living job trains this model now; empty if there is none."""

    def saved_step(self, task: ModelTask) -> int:
        """Step of the newest checkpoint, 0 before the first."""

    def is_stopping(self) -> bool:
        """Whether nothing more is to be started."""

    def ask_for(self, runs: int) -> None:
        """Let the machines become enough for so many runs at once, where they can become more."""

    def shortage(self) -> Shortage | None:
        """What is missing for a run to start; None if nothing is."""


def drive(fleet: Fleet, tasks: Mapping[str, ModelTask], machines: Machines, changed: Callable[[Fleet], None]) -> Fleet:
    """Run the fleet until nothing waits or runs, or until a stop and the end of what runs then; returns its end.

    changed: told each new state. Raises TrainingError when nothing has run for a while and nothing that would help can
    be added.
    """
    running: dict[Future[JsonObject], tuple[str, int]] = {}
    room, elsewhere = _Room(), _Elsewhere()
    while not fleet.is_over:
        if machines.is_stopping():
            if not running:
                break
        else:
            machines.ask_for(fleet.able)
            # Slots are all that the machines hold, taken or free.
            slots, waits = machines.slots(), False
            free = slots - len(running)
            for key in fleet.next_to_start(len(fleet.members)):
                if free < 1:
                    break
                if elsewhere.holds(tasks[key], machines):
                    waits = True
                    continue
                free -= 1
                fleet = fleet.started(key)
                changed(fleet)
                # Python evaluates the right side first: the step is that before the run.
                running[machines.start(tasks[key])] = (key, machines.saved_step(tasks[key]))
            # While something runs, a full cluster is no shortage: what waits has its turn. But runs whose machines have
            # all gone as they started wait within Ray Train, which does not say so here.
            stranded = bool(running) and not slots
            room.watch(machines.shortage() if stranded or not (running or waits) else None, must_end=not stranded)
        if not running:  # waiting for nothing would return at once
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        finished, _ = wait(running, timeout=_SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        for future in finished:
            key, before = running.pop(future)
            fleet = _after(fleet, tasks[key], future, machines.saved_step(tasks[key]) > before)
            changed(fleet)
    return fleet


class _Elsewhere:
    """Models that other runs over the store train just now: waited for, or both would take them from one another."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def holds(self, task: ModelTask, machines: Machines) -> bool:
        """Whether another run trains it; said when that begins."""
        run = machines.taken_by(task)
        if run and self._said.get(task.key) != run:
            log.info("train: %s is being trained by the run %s, and waited for", task.name, run)
        self._said[task.key] = run
        return bool(run)


class _Room:
    """The wait for capacity: said while it lasts, ended when it has no hope."""

    def __init__(self) -> None:
        self._since = self._said = 0.0

    def watch(self, short: Shortage | None, must_end: bool) -> None:
        """Take note of what is missing now. must_end: whether to raise TrainingError once there is no hope."""
        now = time.monotonic()
        if short is None:
            self._since = 0.0
            return
        self._since = self._since or now
        waited = now - self._since
        if must_end and not short.can_end and waited >= _HOPELESS_SECONDS:
            raise TrainingError(
                f"waited {format_seconds(waited)} for capacity that cannot come: {short.missing}; add such a node, or"
                " ask for less (training.cpus_per_expert, gpus_per_expert, workers_per_expert, seed.cpus)"
            )
        if now - self._said >= _SECONDS_BETWEEN_WORDS:
            self._said = now
            log.info("train: waiting for capacity since %s: %s", format_seconds(waited), short.missing)


def _after(fleet: Fleet, task: ModelTask, ended: Future[JsonObject], got_further: bool) -> Fleet:
    """The fleet after one run: a lost process is worth another try, an error of ours would only come again."""
    if (crash := ended.exception()) is not None:
        reason = str(redact(innermost(crash)))
        log.warning("train: %s failed: %s", task.name, reason)
        return fleet.failed(task.key, reason, got_further=got_further)
    outcome = ended.result()
    if "preempted" in outcome:
        log.info("train: %s preempted: %s", task.name, outcome["preempted"])
        return fleet.preempted(task.key)
    if "taken" in outcome:
        log.info("train: %s: %s", task.name, outcome["taken"])
        return fleet.taken(task.key)
    if "failed" in outcome:
        reason = str(redact(outcome["failed"]))
        log.warning("train: %s failed: %s", task.name, reason)
        return fleet.failed(task.key, reason, try_again=False)
    log.info("train: %s done", _described(task, outcome))
    return fleet.done(task.key)


def innermost(error: BaseException) -> str:
    """The innermost cause's last line: Ray wraps a worker's exception in several of its own.

    Where a process was lost there is no exception, but a sentence of Ray's below its heading.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        # Ray's own heading holds the word too and says nothing.
        if ("Error" in line or "app.core.errors" in line) and _HEADING not in line:
            return line
    below = next((number for number, line in enumerate(lines[:-1], 1) if _HEADING in line), len(lines) - 1)
    return lines[below] if lines else type(error).__name__


def _described(task: ModelTask, counts: JsonObject) -> str:
    seconds, tokens = float(str(counts["training_seconds"])), int(str(counts["tokens_seen"]))
    return (
        f"{task.name}: {counts['steps']} steps, {format_count(tokens)} tokens, loss"
        f" {float(str(counts['final_loss'])):.3f}, {format_seconds(seconds)},"
        f" {format_count(tokens / max(seconds, 1e-9))} tokens/s"
    )
