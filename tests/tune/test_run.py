"""A sweep on the almanac: killed in the middle, run again, and what two trials share made once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import ConfigError, Preempted
from tests.support.processes import kill_family
from tests.support.tiny import TINY
from tune import run
from tune.run import Outcome, _note, run_sweep
from tune.space import trial_of

AXES = ("run.name=sweep", "sweep.k=1,5", "sweep.strategy=typological,random", "training.budget_tokens=20000")


def command(root: Path, *more: str) -> list[str]:
    settings = [f"--set={item}" for item in (*TINY, *AXES, f"artifacts.root={root}", *more)]
    return [sys.executable, "-m", "tune.sweep", "--preset", "demo", "--format", "json", *settings]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_killed_sweep_goes_on_trains_no_model_twice_and_tells_which_trial_failed(tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    models = tmp_path / "store/model"
    try:
        deadline = time.monotonic() + 300
        while len(list(models.glob("*/final/model.safetensors"))) < 2:  # the seed, and one of the trials' models
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        kill_family(process)
    before = {file: file.stat().st_mtime_ns for file in models.glob("*/DONE")}
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr[-3000:]  # one of its trials cannot be made
    found = json.loads(done.stdout)
    status = {(trial["config"]["k"], trial["config"]["strategy"]): trial["status"] for trial in found["trials"]}
    assert status.pop((5, "typological")) == "failed" and set(status.values()) == {"finished"}
    reason = next(trial["reason"] for trial in found["trials"] if trial["status"] == "failed")
    assert "allocation.k is 5" in reason
    finished = [trial for trial in found["trials"] if trial["status"] == "finished"]
    assert found["best"]["mean_log_ratio"] == min(trial["mean_log_ratio"] for trial in finished)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    # the seed, dense, one expert of all languages, one of all documents, five at random: shared ones once
    assert len(list(models.glob("*/DONE"))) == 1 + 1 + 1 + 1 + 5
    folder = tmp_path / "runs/sweep/sweep"
    assert {file.name for file in folder.iterdir()} >= {
        "trials.json",
        "trials.csv",
        "trials.parquet",
        "index.html",
        "chosen.yaml",
    }
    assert "k and strategy" in (folder / "index.html").read_text()
    chosen = load_config(None, str(folder / "chosen.yaml"))
    assert chosen.allocation.k == found["best"]["config"]["k"]


def test_a_stopped_sweep_ends_as_stopped_and_not_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ray_session", lambda _cluster: contextlib.nullcontext())
    monkeypatch.setattr(run, "_train_together", lambda *_: None)
    stopped = {"sweep.k-4"}

    def evaluate(outcomes: list[Outcome], _store: Store) -> None:
        for outcome in outcomes:
            outcome.status = "stopped" if outcome.trial.name in stopped else "finished"

    monkeypatch.setattr(run, "_evaluate", evaluate)
    config = load_config("demo", overrides=["run.name=sweep", "sweep.k=2,4"])
    with pytest.raises(Preempted, match=r"stopped before sweep\.k-4"):
        run_sweep(config, Store(str(tmp_path)))
    stopped.clear()
    assert [outcome.status for outcome in run_sweep(config, Store(str(tmp_path)))] == ["finished", "finished"]


def test_optuna_is_given_no_value_that_the_configuration_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ray_session", lambda _cluster: contextlib.nullcontext())
    config = load_config("demo", overrides=["sweep.seed_width=32,33", "sweep.searcher=optuna"])
    with pytest.raises(ConfigError, match="width 33 is not a multiple"):
        run_sweep(config, Store(str(tmp_path)))


def test_a_trial_that_raised_or_reported_a_failure_is_failed_with_its_last_line() -> None:
    trial = trial_of(load_config("demo", overrides=["sweep.k=2"]), {"k": 2})
    cases: list[tuple[dict[str, Any], Exception | None, str, str]] = [
        ({"mean_log_ratio": -0.1, "trial_id": "x"}, None, "finished", ""),
        ({"mean_log_ratio": float("inf"), "failed": "no text"}, None, "failed", "no text"),
        ({}, RuntimeError("Traceback\nValueError: odd"), "failed", "ValueError: odd"),
        ({}, None, "stopped", ""),
        ({"mean_log_ratio": float("inf"), "stopped": "as asked"}, None, "stopped", ""),
        ({}, ValueError(), "failed", "ValueError"),
    ]
    for metrics, error, status, reason in cases:
        outcome = Outcome(trial)
        _note(outcome, metrics, error)
        assert (outcome.status, outcome.reason) == (status, reason)
        assert "trial_id" not in outcome.entry()
