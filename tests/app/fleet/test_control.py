from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.layout import DRIVER
from app.artifacts.lease import held
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import MissingArtifact, Preempted
from app.fleet.control import obey_stop, request_stop, run_status
from app.fleet.fleet import plan_fleet
from app.fleet.record import FleetRecord


def given(tmp_path: Path) -> tuple[Config, Store]:
    return load_config("demo", overrides=[f"artifacts.root={tmp_path}", "run.name=r"]), Store(str(tmp_path))


def test_status_needs_nothing_but_the_run_folder_and_the_models(tmp_path: Path) -> None:
    config, store = given(tmp_path)
    fleet = plan_fleet([("k1", 1, False), ("k2", 1, False)], 2).started("k1").preempted("k1").started("k1")
    FleetRecord(store.run("r"), {"k1": "expert-00", "k2": "expert-01"}).write(fleet)
    stage = store.stage("model", "k1")
    ModelCheckpoints(stage, 1).claim()
    row = {"step": 7, "tokens_seen": 700, "loss": 2.5, "tokens_per_second": 50.0, "time": 1.0e9, "seconds": 14.0}
    stage.write("metrics.jsonl", (json.dumps(row) + "\n" + '{"step": 8, "tok').encode())
    with held(store.run("r"), DRIVER, "jobs.train"):
        found = run_status(config, store)
    models = found["models"]
    assert isinstance(models, dict)
    first, second = models["expert-00"], models["expert-01"]
    assert isinstance(first, dict) and isinstance(second, dict)
    assert (first["state"], first["step"], first["preemptions"], first["loss"]) == ("running", 7, 1, 2.5)
    assert first["host"] and second["state"] == "waiting" and "step" not in second
    lines = str(found["text"]).splitlines()
    assert lines[0].split()[:3] == ["model", "state", "step"] and lines[1].split()[:3] == ["expert-00", "running", "7"]


def test_a_run_that_was_never_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"nothing has been trained under run\.name=r"):
        run_status(*given(tmp_path))


def test_a_stop_is_a_file_in_the_run_folder(tmp_path: Path) -> None:
    config, store = given(tmp_path)
    assert str(request_stop(config, store)["asked"]).endswith("runs/r/stop.json")
    assert "jobs.stop" in str(store.run("r").read_json("stop.json")["reason"])


def test_a_stop_ends_work_between_two_trainings_too(tmp_path: Path) -> None:
    config, store = load_config("demo", overrides=["run.name=r"]), Store(str(tmp_path))
    obey_stop(store.run("r"))
    request_stop(config, store)
    with pytest.raises(Preempted, match=r"jobs\.stop at .*run the same command again"):
        obey_stop(store.run("r"))


def test_a_driver_that_was_killed_is_told_from_one_that_works(tmp_path: Path) -> None:
    config, store = given(tmp_path)
    run = store.run("r")
    FleetRecord(run, {"k1": "expert-00"}).write(plan_fleet([("k1", 1, False)], 2).started("k1"))
    with held(run, DRIVER, "jobs.train"):
        alive = run_status(config, store)
        holder = run.read_json(DRIVER)
    assert "jobs.train on" in str(alive["text"]) and "works on this run" in str(alive["text"])
    run.write_json(DRIVER, {**holder, "time": time.time() - 100})
    dead = run_status(config, store)
    assert "is dead, last heard 1m 40s ago; run the same command again" in str(dead["text"])
    assert isinstance(alive["models"], dict) and isinstance(dead["models"], dict)
    assert [found["models"]["expert-00"]["state"] for found in (alive, dead)] == ["running", "stopped"]  # type: ignore[index,call-overload]
    run.remove(DRIVER)
    assert "no job works on this run now" in str(run_status(config, store)["text"])
