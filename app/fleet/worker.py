"""What runs inside a Ray Train worker: one model task, and an eye on who may ask it to stop."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import ray.train
import torch

from app.artifacts.layout import STOP
from app.artifacts.store import Folder
from app.core.errors import ArtifactError, LeaseLost, Preempted, StorageError, XelmError
from app.core.records import JsonObject
from app.fleet.metrics import PrometheusMetrics
from app.training.hooks import Hook, StopRequest
from app.training.model_task import ModelTask, run_model_task

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 1.0
_LATER_THAN_STARTS = 4
"""Added to the niceness of training threads, 15 by Ray: where cores are few, an expert that starts again is not to wait
for the steps of those that run."""


@dataclass(frozen=True)
class Assignment:
    """What a worker gets: its task, its threads, and the run folder in which a stop is asked for."""

    task: ModelTask
    threads: int
    run: Folder


Work = Callable[[Assignment], JsonObject]
"""What a worker runs."""


def train_in_worker(assignment: Assignment, hooks: Sequence[Hook] = ()) -> JsonObject:
    """The finished model's counts, or ``preempted``, ``taken`` or ``failed`` with the reason: Ray would wrap an error.

    Storage that fails is left to raise: like a lost process it is worth another try. hooks: beside the task's own.
    """
    torch.set_num_threads(assignment.threads)
    # On Linux this is of the calling thread alone: Ray's threads in this process answer as before.
    os.nice(_LATER_THAN_STARTS)
    try:
        task = assignment.task
        more = [PrometheusMetrics(task.run, task.name)] if "prometheus" in task.trackers else []
        with _watching(assignment.run) as stop:
            return run_model_task(task, stop, [*more, *hooks], assignment.run.uri.rpartition("/")[2])
    except Preempted as error:
        return {"preempted": str(error)}
    except LeaseLost as error:
        return {"taken": str(error)}
    except StorageError:
        raise
    except XelmError as error:
        return {"failed": str(error)}


@contextmanager
def _watching(run: Folder) -> Iterator[StopRequest]:
    """A stop request that is asked for when a node of the run is about to go, or when ``jobs.stop`` says so."""
    stop, closed = StopRequest(), threading.Event()
    watch = threading.Thread(target=_watch, args=(run, stop, closed), name="stop-watch", daemon=True)
    watch.start()
    try:
        yield stop
    finally:
        closed.set()
        watch.join(_SECONDS_BETWEEN_LOOKS)  # with several workers it may wait for one that has stopped looking


def _watch(run: Folder, stop: StopRequest, closed: threading.Event) -> None:
    while not stop.is_asked and not closed.wait(_SECONDS_BETWEEN_LOOKS):
        try:
            look(run, stop)
        except ArtifactError as error:  # storage away, a file that is just being removed: the next look will do
            log.warning("cannot look for a stop: %s", error)


def look(run: Folder, stop: StopRequest) -> None:
    """Ask for the stop if there is a reason for one."""
    # Before the file, since it may bring a deadline. With several workers this waits until all of them ask.
    if (info := ray.train.get_preemption_info()) is not None:
        deadline = info.deadline_ms / 1000 if info.deadline_ms else math.inf
        stop.ask(f"the node goes in {max(0.0, deadline - time.time()):.0f} s", deadline)
    elif run.exists(STOP):
        stop.ask(str(run.read_json(STOP)["reason"]))
