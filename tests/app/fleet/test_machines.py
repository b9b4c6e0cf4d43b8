from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.lease import held
from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.fleet.machines import ray_machines


def test_a_stop_asked_for_while_the_storage_is_away_is_written_when_it_is_back(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.write_text("a file in the place of the storage's folder")
    run = Store(str(root)).run("r")
    with ray_machines(load_config("demo"), run) as machines:
        assert not machines.is_stopping()
        machines.stop("enough")
        assert machines.is_stopping()
        root.unlink()
        assert machines.is_stopping() and run.read_json("stop.json") == {"reason": "enough"}


def test_sigterm_asks_the_runs_to_stop_and_its_earlier_handler_comes_back(tmp_path: Path) -> None:
    run, before = Store(str(tmp_path)).run("r"), signal.getsignal(signal.SIGTERM)
    with ray_machines(load_config("demo"), run) as machines:
        os.kill(os.getpid(), signal.SIGTERM)
        assert machines.is_stopping() and "SIGTERM" in str(run.read_json("stop.json")["reason"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_of_another_process_is_found(tmp_path: Path) -> None:
    run = Store(str(tmp_path)).run("r")
    with ray_machines(load_config("demo"), run) as machines:
        run.write_json("stop.json", {"reason": "jobs.stop"})
        assert machines.is_stopping()
        machines.stop("SIGTERM")
        assert machines.is_stopping() and run.read_json("stop.json") == {"reason": "jobs.stop"}


@pytest.mark.parametrize(
    ("slots", "gpus", "bundles"),
    [(0, 0, [{"CPU": 1.0}] * 6), (2, 0.5, [{"CPU": 1.0, "GPU": 0.5}] * 4)],
)
def test_machines_are_asked_for_by_worker_and_never_more_than_the_slots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slots: int, gpus: float, bundles: list[dict[str, float]]
) -> None:
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr("app.fleet.machines.request_resources", lambda bundles: asked.append(bundles))
    settings = [
        "cluster.address=auto",
        f"cluster.slots={slots}",
        f"training.gpus_per_expert={gpus}",
        "training.workers_per_expert=2",
    ]
    with ray_machines(load_config("demo", overrides=settings), Store(str(tmp_path)).run("r")) as machines:
        machines.ask_for(3)
        machines.ask_for(3)  # Ray Train has overwritten the first
    assert asked == [bundles, bundles, []]


def test_a_model_is_taken_while_another_runs_job_lives_and_it_is_not_finished(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    task: Any = SimpleNamespace(stage=store.stage("model", "m"), store=store)
    with ray_machines(load_config("demo"), store.run("mine")) as machines:
        assert machines.taken_by(task) == ""
        for name in ("mine", "other"):
            ModelCheckpoints(task.stage, 1, run=name).claim()
            assert machines.taken_by(task) == ""  # no job works at the other run
        with (
            held(store.run("other"), "driver.json", "jobs.train"),
            held(store.run("mine"), "driver.json", "jobs.train"),
        ):
            assert machines.taken_by(task) == "other"
            ModelCheckpoints(task.stage, 1, run="mine").claim()
            assert machines.taken_by(task) == ""
            ModelCheckpoints(task.stage, 1, run="other").claim()
            task.stage.publish(Manifest("model", "m", {}, {}))
            assert machines.taken_by(task) == ""
