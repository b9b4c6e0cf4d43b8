"""The same sweep on the almanac twice at once, one killed in the middle: the other goes on; shared models once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from app.artifacts.store import Folder, Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import ConfigError, Interrupted, NotTrained, Preempted
from app.lineage.lineage import Lineage
from benchmarks.processes import kill_family
from benchmarks.raylets import Raylets
from tests.support.tiny import TINY
from tune import run, tuning
from tune.board import TrialBoard
from tune.run import run_sweep
from tune.space import Outcome, planned_settings, trial_of
from tune.tuning import Driver

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


def process_at(name: str, driver: subprocess.Popen[str]) -> int:
    """The process of Ray's that does something of this name, once there is one."""
    deadline = time.monotonic() + 300
    while True:
        assert driver.poll() is None and time.monotonic() < deadline, f"nothing was {name}"
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "".join(process.cmdline()[:1]).startswith(f"ray::{name}"):
                    return process.pid
        time.sleep(0.05)


@pytest.mark.rare
@pytest.mark.timeout(600)
def test_machines_lost_while_a_trial_trains_and_while_it_is_evaluated_cost_no_trial() -> None:
    with tempfile.TemporaryDirectory() as short, Raylets(Path(short) / "r", 2) as raylets:
        root = Path(short) / "artifacts"
        settings = (*command(root), "--set=sweep.strategy=random", f"--set=cluster.address={raylets.address}")
        driver = subprocess.Popen(settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            with ThreadPoolExecutor(1) as pool:
                end = pool.submit(driver.communicate, timeout=500)
                for at in ("RayTrainWorker", "ImplicitFunc"):  # one trains, in the other Tune has a trial
                    raylets.kill_host_of(process_at(at, driver))
                    raylets.add()
                out, said = end.result()
        finally:
            if driver.poll() is None:
                kill_family(driver)
        assert driver.returncode == 0, said[-3000:]
        trials = json.loads(out)["trials"]
        assert [trial["status"] for trial in trials] == ["finished", "finished"]
        # the seed; dense; one expert of all documents; three at random
        assert len(list((root / "store/model").glob("*/DONE"))) == 1 + 1 + 1 + 3


@pytest.mark.rare
@pytest.mark.timeout(600)
def test_optuna_chooses_trials_that_share_models_and_a_random_cut_is_tried_too(tmp_path: Path) -> None:
    settings = ["--set=sweep.k=1,2", "--set=sweep.searcher=optuna", "--set=sweep.trials=4"]
    done = subprocess.run([*command(tmp_path), *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    tried = {(trial["config"]["k"], trial["config"]["strategy"]): trial["status"] for trial in found["trials"]}
    assert 1 < len(tried) <= 4 and set(tried.values()) == {"finished"}
    # One expert of everything is dense, whatever cut it; the seed, dense, and two for each cut in two.
    two = sum(k == 2 for k, _ in tried)
    trained = len(list((tmp_path / "store/model").glob("*/DONE")))
    assert trained == 2 + 2 * two or (two == 2 and trained == 4)  # of two languages both cuts may be the same


def test_a_stopped_sweep_ends_as_stopped_and_not_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ray_session", lambda _cluster: contextlib.nullcontext())
    monkeypatch.setattr(run, "_train_together", lambda *_: None)
    stopped = {"sweep.k-4"}

    def evaluate(_config: Config, outcomes: list[Outcome], _store: Store, _board: TrialBoard) -> None:
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_search_is_a_stop_of_the_trial_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = Store(str(tmp_path))
    stop = store.run("s")

    def tuned(*_: object) -> None:
        os.kill(os.getpid(), number)
        deadline = time.monotonic() + 20
        while not stop.exists("stop.json"):  # as a trial looks for it, and saves
            assert time.monotonic() < deadline
            time.sleep(0.01)

    monkeypatch.setattr(run, "tuned", tuned)
    monkeypatch.setattr(run, "ray_session", lambda _cluster: contextlib.nullcontext())
    config = load_config("demo", overrides=["run.name=s", "sweep.k=2,3", "sweep.searcher=optuna"])
    interrupts = number == signal.SIGINT
    with pytest.raises(Interrupted) if interrupts else contextlib.nullcontext():
        assert run_sweep(config, store) == []
    assert stop.read_json("stop.json") == {"reason": f"{signal.Signals(number).name} at the driver"}


@dataclass
class Task:
    """A model of a trial; ``done``: whether it is trained."""

    key: str
    name: str
    done: bool = False

    @property
    def stage(self) -> SimpleNamespace:
        """Its folder."""
        return SimpleNamespace(is_complete=self.done)


@pytest.fixture
def fleets(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keys of each fleet. Trials by strategy: `random` and `tfidf` share seed and dense, `transfer` has its own seed.
    Whatever has "bad" in its key is given up, all else is done.
    """
    seeds = {"random": "seed", "tfidf": "seed", "transfer": "bad-seed"}
    models = {"random": ["dense", "a"], "tfidf": ["dense", "bad-b"], "transfer": ["c"]}
    tasks = {key: Task(key, f"name-of-{key}") for key in ("seed", "bad-seed", "dense", "a", "bad-b", "c")}
    told: list[list[str]] = []

    def seed_of(lineage: Lineage) -> list[Any]:
        if lineage.config.allocation.strategy == "typological":
            raise ValueError("odd\nno such language")
        return [tasks[seeds[lineage.config.allocation.strategy]]]

    def train_fleet(_config: Config, wanted: list[Task], _cpus: object, _more: object, stops: Folder) -> None:
        told.append([task.key for task in wanted])
        assert stops.uri.endswith("runs/demo")
        for task in wanted:
            task.done = "bad" not in task.key
        if lost := {task.key: f"no text for {task.key}" for task in wanted if not task.done}:
            raise NotTrained("not trained", lost)

    monkeypatch.setattr(run, "_seed_of", seed_of)
    monkeypatch.setattr(
        run, "_models_of", lambda lineage: [tasks[key] for key in models[lineage.config.allocation.strategy]]
    )
    monkeypatch.setattr(run, "train_fleet", train_fleet)
    return told


def trained_together(root: Path, *strategies: str) -> list[Outcome]:
    config = load_config("demo", overrides=[f"sweep.strategy={','.join(strategies)}"])
    outcomes = [Outcome(trial_of(config, settings)) for settings in planned_settings(config)]
    run._train_together(config, outcomes, Store(str(root)), TrialBoard(outcomes))
    return outcomes


def test_a_trial_that_cannot_be_made_is_told_and_the_models_of_the_others_are_one_fleet(
    tmp_path: Path, fleets: list[list[str]]
) -> None:
    outcomes = trained_together(tmp_path, "random", "typological")
    assert fleets == [["seed"], ["dense", "a"]]
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("stopped", ""),
        ("failed", "no such language"),
    ]


def test_a_trial_of_which_a_model_or_the_seed_was_given_up_has_failed_with_the_fleets_reason(
    tmp_path: Path, fleets: list[list[str]]
) -> None:
    outcomes = trained_together(tmp_path, "random", "tfidf", "transfer")
    # the seeds are one fleet too; nothing is made of the one that failed
    assert fleets == [["seed", "bad-seed"], ["dense", "a", "bad-b"]]
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("stopped", ""),
        ("failed", "name-of-bad-b was not trained: no text for bad-b"),
        ("failed", "name-of-bad-seed was not trained: no text for bad-seed"),
    ]


def test_a_stop_of_the_sweep_ends_it_before_the_next_trial_is_prepared(tmp_path: Path, fleets: list[list[str]]) -> None:
    Store(str(tmp_path)).run("demo").write_json("stop.json", {"reason": "jobs.stop at noon"})
    with pytest.raises(Preempted, match=r"jobs\.stop at noon"):
        trained_together(tmp_path, "random", "tfidf")
    assert fleets == []


def test_what_an_earlier_sweep_gave_up_is_tried_again_and_a_stop_is_left_to_be_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ray_session", lambda _cluster: contextlib.nullcontext())
    store, seen = Store(str(tmp_path)), []
    store.run("demo").write_json("stop.json", {"reason": "jobs.stop"})
    store.run("demo").write_json("sweep/given_up.json", {"seed": "its loss was nan"})
    kept = ("stop.json", "sweep/given_up.json")
    monkeypatch.setattr(run, "_train_together", lambda *_: seen.extend(store.run("demo").exists(name) for name in kept))
    monkeypatch.setattr(run, "_evaluate", lambda *_: None)
    with pytest.raises(Preempted):  # nothing was evaluated
        run_sweep(load_config("demo", overrides=["sweep.k=2"]), store)
    assert seen == [True, False]


def test_optuna_learns_from_the_figures_and_ends_near_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    def tuned(config: Config, space: dict[str, Any], work: Callable[[Any], None], told: Any, searcher: Any) -> None:
        """Tune's loop, in this process."""
        assert searcher.set_search_properties("mean_log_ratio", "min", space)
        for number in range(config.sweep.trials):
            trial = SimpleNamespace(config=searcher.suggest(str(number)), last_result={})
            told.on_trial_start(number, [], trial)
            work(trial.config)
            trial.last_result = reported.pop()
            searcher.on_trial_complete(str(number), trial.last_result)
            told.on_trial_complete(number, [], trial)

    def worked(config: Config, _driver: Driver) -> dict[str, Any]:
        if config.allocation.strategy == "random":
            return {"mean_log_ratio": float("inf"), "failed": "made to fail"}
        return {"mean_log_ratio": abs(config.allocation.k - 6) / 10, "wins": 1, "languages": 2}

    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(run, "tuned", tuned)
    monkeypatch.setattr(tuning, "_worked", worked)
    monkeypatch.setattr("ray.tune.report", reported.append)
    settings = ["sweep.k=1,2,3,4,5,6,7,8", "sweep.strategy=typological,random", "sweep.searcher=optuna"]
    config = load_config("demo", overrides=[*settings, "sweep.trials=25"])
    outcomes = run._searched(config, Store("memory://unused"))
    names = [outcome.trial.name for outcome in outcomes]
    assert len(names) == len(set(names)) <= 16
    best = min((o for o in outcomes if o.status == "finished"), key=lambda o: float(str(o.figures["mean_log_ratio"])))
    assert abs(int(best.trial.settings["k"]) - 6) <= 1
    assert {o.status for o in outcomes if o.trial.settings["strategy"] == "random"} == {"failed"}
