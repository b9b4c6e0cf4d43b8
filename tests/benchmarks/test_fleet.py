from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

from app.core.records import JsonObject
from app.training.hooks import StepMetrics, running
from app.training.model_task import ModelTask
from benchmarks.fleet import Pace, Timed

METRICS = StepMetrics(1, 100, 5.0, 0.01, 1.0, 1000.0, 0.5, 1.7e9)


def test_paced_steps_last_as_long_as_they_are_told_whatever_their_work_takes() -> None:
    began = time.monotonic()
    with running([pace := Pace(0.05)], 0):
        for work in (0.0, 0.03, 0.0):
            time.sleep(work)
            pace.step(METRICS)
    assert time.monotonic() - began >= 4 * 0.05, "the first step's time, and three more"


class _Instant:
    """Machines on which every run ends at once."""

    def shortage(self) -> None:
        """Nothing is missing."""

    def slots(self) -> int:
        return 1

    def start(self, task: Any) -> Future[JsonObject]:
        future: Future[JsonObject] = Future()
        future.set_result({"of": task.key})
        return future

    def saved_step(self, task: Any) -> int:
        return 7

    def taken_by(self, task: Any) -> str:
        return ""

    def is_stopping(self) -> bool:
        return False

    def ask_for(self, runs: int) -> None:
        self.runs = runs


def test_timed_machines_note_when_each_run_starts_and_ends_and_are_the_machines_otherwise() -> None:
    machines = _Instant()
    timed, task = Timed(machines), cast(ModelTask, SimpleNamespace(key="a"))
    assert timed.start(task).result() == {"of": "a"}
    ((started, at), (ended, until)) = timed.starts[0], timed.ends[0]
    assert started == ended == "a" and until >= at
    assert (timed.slots(), timed.saved_step(task), timed.is_stopping()) == (1, 7, False)
    timed.ask_for(3)
    assert machines.runs == 3


def test_attempts_are_starts_and_ends_in_turn() -> None:
    timed = Timed(_Instant())
    timed.starts, timed.ends = [("a", 5.0), ("b", 5.0), ("a", 9.0)], [("b", 6.0), ("a", 8.0), ("a", 12.0)]
    assert timed.runs(5.0) == [("a", 0.0, 3.0), ("b", 0.0, 1.0), ("a", 4.0, 7.0)]
