"""The same sweep on the almanac twice at once, one killed in the middle: the other goes on; shared models once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import ConfigError, Preempted
from app.lineage.lineage import Lineage
from benchmarks.processes import kill_family
from tests.support.tiny import TINY
from tune import run
from tune.board import TrialBoard
from tune.run import _note, run_sweep
from tune.space import Outcome, planned_settings, trial_of

SMALL = (
    "run.name=sweep",
    "sweep.k=1,3",
    "sweep.strategy=typological,random",
    "corpus.languages=de,hi",
    "corpus.documents_per_language=40",
    "seed.budget_tokens=10000",
    "training.budget_tokens=8192",
    "evaluation.max_documents_per_language=4",
    "evaluation.bootstrap_samples=50",
)


def command(root: Path) -> list[str]:
    settings = [f"--set={item}" for item in (*TINY, *SMALL, f"artifacts.root={root}")]
    return [sys.executable, "-m", "tune.sweep", "--preset", "demo", "--format", "json", *settings]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_of_two_sweeps_at_once_the_killed_ones_work_is_gone_on_with_and_no_model_is_trained_twice(
    tmp_path: Path,
) -> None:
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command(tmp_path), stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    models = tmp_path / "store/model"
    try:
        with ThreadPoolExecutor(2) as pool:  # pipes must be read
            ends = {process.pid: pool.submit(process.communicate, timeout=500) for process in both}
            deadline = time.monotonic() + 300
            while len(list(models.glob("*/final/model.safetensors"))) < 2:  # the seed, and one of the trials' models
                assert all(process.poll() is None for process in both) and time.monotonic() < deadline
                time.sleep(0.05)
            at_work = json.loads((tmp_path / "runs/sweep/driver.json").read_text())["pid"]
            (first,) = (process for process in both if process.pid == at_work)
            kill_family(first)
            (done,) = (process for process in both if process is not first)
            before = {file: file.stat().st_mtime_ns for file in models.glob("*/DONE")}
            begun = set(models.glob("*/metrics.jsonl"))
            out, said = ends[done.pid].result()
    finally:
        for process in both:
            if process.poll() is None:
                kill_family(process)
    assert done.returncode == 1 and out, said[-3000:]  # one of its trials cannot be made
    assert "waiting: jobs.sweep works at this" in said
    found = json.loads(out)
    status = {(trial["config"]["k"], trial["config"]["strategy"]): trial["status"] for trial in found["trials"]}
    assert status.pop((3, "typological")) == "failed" and set(status.values()) == {"finished"}
    reason = next(trial["reason"] for trial in found["trials"] if trial["status"] == "failed")
    assert "allocation.k is 3" in reason
    finished = [trial for trial in found["trials"] if trial["status"] == "finished"]
    assert found["best"]["mean_log_ratio"] == min(trial["mean_log_ratio"] for trial in finished)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    # the seed; dense, which is the one expert of all languages; one of all documents; three at random: shared ones once
    assert len(list(models.glob("*/DONE"))) == 1 + 1 + 1 + 3
    for file in set(models.glob("*/metrics.jsonl")) - begun:
        steps = [json.loads(line)["step"] for line in file.read_text().splitlines()]
        assert steps == sorted(set(steps))
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

    def evaluate(outcomes: list[Outcome], _store: Store, _board: TrialBoard) -> None:
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
    config = load_config("demo", overrides=["seed.source=trained", "sweep.seed_width=32,33", "sweep.searcher=optuna"])
    with pytest.raises(ConfigError, match="width 33 is not a multiple"):
        run_sweep(config, Store(str(tmp_path)))


def test_a_trial_that_cannot_be_made_is_told_and_the_models_of_the_others_are_one_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"random": ["dense", "a"], "tfidf": ["dense", "b"]}
    fleets: list[list[str]] = []

    def prepared(lineage: Lineage) -> list[Any]:
        strategy = lineage.config.allocation.strategy
        if strategy == "typological":
            raise ValueError("odd\nno such language")
        return [SimpleNamespace(key=key) for key in models[strategy]]

    monkeypatch.setattr(run, "_prepared", prepared)
    monkeypatch.setattr(run, "train_fleet", lambda _c, tasks, **_: fleets.append([task.key for task in tasks]))
    config = load_config("demo", overrides=["sweep.strategy=random,typological,tfidf"])
    outcomes = [Outcome(trial_of(config, settings)) for settings in planned_settings(config)]
    run._train_together(config, outcomes, Store(str(tmp_path)), TrialBoard(outcomes))
    assert fleets == [["dense", "a", "b"]]
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("stopped", ""),
        ("failed", "no such language"),
        ("stopped", ""),
    ]


def test_optuna_learns_from_the_figures_and_ends_near_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    def tuned(
        space: dict[str, Any], work: Callable[[Any], None], told: Any, searcher: Any, samples: int
    ) -> list[SimpleNamespace]:
        """Tune's loop, in this process."""
        assert searcher.set_search_properties("mean_log_ratio", "min", space)
        results = []
        for number in range(samples):
            trial = SimpleNamespace(config=searcher.suggest(str(number)), last_result={})
            told.on_trial_start(number, [], trial)
            work(trial.config)
            trial.last_result = reported.pop()
            searcher.on_trial_complete(str(number), trial.last_result)
            told.on_trial_complete(number, [], trial)
            results.append(SimpleNamespace(config=trial.config, metrics=trial.last_result, error=None))
        return results

    def worked(config: Config, _store: Store) -> dict[str, Any]:
        if config.allocation.strategy == "random":
            return {"mean_log_ratio": float("inf"), "failed": "made to fail"}
        return {"mean_log_ratio": abs(config.allocation.k - 6) / 10, "wins": 1, "languages": 2}

    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(run, "_tuned", tuned)
    monkeypatch.setattr(run, "_worked", worked)
    monkeypatch.setattr("ray.tune.report", reported.append)
    settings = ["sweep.k=1,2,3,4,5,6,7,8", "sweep.strategy=typological,random", "sweep.searcher=optuna"]
    config = load_config("demo", overrides=[*settings, "sweep.trials=25"])
    outcomes = run._searched(config, Store("memory://unused"))
    names = [outcome.trial.name for outcome in outcomes]
    assert len(names) == len(set(names)) <= 16
    best = min((o for o in outcomes if o.status == "finished"), key=lambda o: float(str(o.figures["mean_log_ratio"])))
    assert abs(int(best.trial.settings["k"]) - 6) <= 1
    assert {o.status for o in outcomes if o.trial.settings["strategy"] == "random"} == {"failed"}


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
