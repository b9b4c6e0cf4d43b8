from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.artifacts.store import Folder, Store
from app.core.errors import ConfigError, LeaseLost, MissingArtifact, Preempted, StorageError
from app.core.records import JsonObject
from app.fleet import worker
from app.fleet.worker import Assignment, look, train_in_worker
from app.training.hooks import StopRequest
from app.training.model_task import ModelTask


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Store(str(tmp_path)).run("r")


def work(monkeypatch: pytest.MonkeyPatch, run: Folder, doing: Callable[..., JsonObject]) -> JsonObject:
    """What a worker answers, in a thread of its own as with Ray, while ``doing`` stands for the training."""
    monkeypatch.setattr(worker, "run_model_task", doing)
    task = cast(ModelTask, SimpleNamespace(trackers=(), run="r", name="expert-00"))
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(train_in_worker, Assignment(task, 1, run)).result()


def raising(error: Exception) -> Callable[..., JsonObject]:
    def doing(*_: Any) -> JsonObject:
        raise error

    return doing


def test_a_stop_and_an_error_of_ours_are_answers(monkeypatch: pytest.MonkeyPatch, run: Folder) -> None:
    assert work(monkeypatch, run, raising(Preempted("the node goes"))) == {"preempted": "the node goes"}
    assert work(monkeypatch, run, raising(LeaseLost("another attempt"))) == {"taken": "another attempt"}
    assert work(monkeypatch, run, raising(ConfigError("seed.model: no"))) == {"failed": "seed.model: no"}


def test_a_storage_that_fails_and_an_error_of_others_are_raised(monkeypatch: pytest.MonkeyPatch, run: Folder) -> None:
    with pytest.raises(StorageError, match="away"):
        work(monkeypatch, run, raising(StorageError("away")))
    with pytest.raises(ZeroDivisionError):
        work(monkeypatch, run, raising(ZeroDivisionError()))


def test_training_yields_to_what_starts_and_nothing_else_of_the_process_does(
    monkeypatch: pytest.MonkeyPatch, run: Folder
) -> None:
    def niceness(*_: Any) -> JsonObject:
        return {"nice": os.getpriority(os.PRIO_PROCESS, threading.get_native_id())}

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert work(monkeypatch, run, niceness) == {"nice": min(19, before + 4)}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_a_stop_file_stops_with_its_reason(monkeypatch: pytest.MonkeyPatch, run: Folder) -> None:
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: None)
    stop = StopRequest()
    look(run, stop)
    assert not stop.is_asked
    run.write_json("stop.json", {"reason": "jobs.stop"})
    look(run, stop)
    with pytest.raises(Preempted, match=r"jobs\.stop"):
        stop.raise_preempted(3, 3)


@pytest.mark.parametrize("error", [StorageError("away"), MissingArtifact("just removed")])
def test_a_look_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, run: Folder, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(worker, "_SECONDS_BETWEEN_LOOKS", 0.01)
    found: list[Exception] = [error]

    def seen(_: Folder, stop: StopRequest) -> None:
        if found:
            raise found.pop()
        stop.ask("at the second look")

    def until_stopped(_: ModelTask, stop: StopRequest, *__: Any) -> JsonObject:
        deadline = time.monotonic() + 10
        while not stop.is_asked and time.monotonic() < deadline:
            time.sleep(0.01)
        return {"stopped": stop.is_asked}

    monkeypatch.setattr(worker, "look", seen)
    assert work(monkeypatch, run, until_stopped) == {"stopped": True}
    assert str(error) in caplog.text
