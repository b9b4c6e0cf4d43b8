from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.fleet.fleet import plan_fleet
from app.fleet.record import FleetRecord
from app.planning.ledger import forecast_gpu_hours, model_records


def recorded(root: Path, device: str, *overrides: str, workers: int = 1) -> dict[str, Any]:
    """One finished model with two attempts of half an hour, an hour apart; one was preempted."""
    config = load_config("demo", overrides=["run.name=r", *overrides])
    store = Store(str(root))
    stage = store.stage("model", "k")
    rows = [
        {
            "step": step,
            "tokens_seen": 10 * step,
            "loss": 2.0,
            "tokens_per_second": 5.0,
            "time": time,
            "seconds": seconds,
        }
        for step, time, seconds in ((1, 900.0, 900.0), (2, 1800.0, 1800.0), (3, 6300.0, 900.0), (4, 7200.0, 1800.0))
    ]
    stage.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    counts = {"steps": 4, "tokens_seen": 40, "final_loss": 2.0, "device": device, "workers": workers}
    stage.publish(Manifest("model", "k", {}, {}, counts))
    fleet = plan_fleet([("k", 1, False)], 2).started("k").preempted("k").started("k").done("k")
    FleetRecord(store.run("r"), {"k": "dense"}).write(fleet)
    return dict(model_records(config, store, {"dense": stage})["dense"])


def test_counts_status_and_bytes_of_a_model_stand_together(tmp_path: Path) -> None:
    found = recorded(tmp_path, "cpu")
    assert (found["state"], found["steps"], found["preemptions"], found["failures"]) == ("done", 4, 1, 0)
    assert (found["wall_seconds"], found["worker_seconds"]) == (7200.0, 3600.0)
    files = [file for file in (tmp_path / "store/model/k").rglob("*") if file.is_file()]
    assert found["storage_bytes"] == sum(file.stat().st_size for file in files) > 0


def test_cpus_cost_no_gpu_hours(tmp_path: Path) -> None:
    assert "gpu_hours" not in recorded(tmp_path, "cpu", "training.gpus_per_expert=1")


def test_gpu_hours_are_those_of_all_attempts_beside_the_forecast(tmp_path: Path) -> None:
    overrides = ("training.gpus_per_expert=0.5", "planning.gpus.L40S.spot=0.5", "planning.gpus.L40S.on_demand=3")
    found = recorded(tmp_path, "NVIDIA L40S", *overrides)
    assert (found["gpu_hours"], found["money_spot"], found["money_on_demand"]) == (0.5, 0.25, 1.5)
    config = load_config("demo", overrides=overrides)
    assert found["gpu_hours_forecast"] == forecast_gpu_hours(config)["dense"] > 0


def test_every_worker_of_a_model_is_paid_for(tmp_path: Path) -> None:
    assert recorded(tmp_path, "NVIDIA L40S", "training.gpus_per_expert=1", workers=4)["gpu_hours"] == 4.0


def test_what_another_model_of_the_same_name_took_is_not_told_of_this_one(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    stage = store.stage("model", "new")
    stage.publish(Manifest("model", "new", {}, {}, {"steps": 4, "final_loss": 2.5}))
    old = plan_fleet([("old", 1, False)], 2).started("old").failed("old", "lost")
    FleetRecord(store.run("r"), {"old": "seed"}).write(old)
    found = model_records(load_config("demo", overrides=["run.name=r"]), store, {"seed": stage})["seed"]
    assert (found["state"], found["loss"]) == ("done", 2.5) and "failures" not in found


def test_a_model_that_no_fleet_has_trained_is_done(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    stage = store.stage("model", "k")
    stage.publish(Manifest("model", "k", {}, {}, {"steps": 4, "final_loss": 2.5}))
    found = model_records(load_config("demo", overrides=["run.name=r"]), store, {"dense": stage})["dense"]
    assert (found["state"], found["step"], found["loss"]) == ("done", 4, 2.5)


@pytest.mark.parametrize("overrides", [[], ["training.gpus_per_expert=1", "seed.model=nobody/nothing"]])
def test_what_cannot_be_forecast_is_left_out(overrides: list[str]) -> None:
    assert forecast_gpu_hours(load_config("demo", overrides=overrides)) == {}
