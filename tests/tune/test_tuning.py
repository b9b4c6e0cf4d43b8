from __future__ import annotations

import contextlib
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError

from app.artifacts.store import Folder, Store
from app.config.load import load_config, resolved
from app.config.schema import Config
from app.core.errors import CorpusError, NonFiniteLoss, NotTrained, Preempted, StorageError
from app.core.records import JsonObject
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.pipelines import everything
from tune import tuning
from tune.board import TrialBoard
from tune.space import Outcome, trial_of
from tune.tuning import Driver, Told, chosen_trial, named_trial, note, tuned


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What trials report to Tune."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", found.append)
    monkeypatch.setattr(tuning, "trial_figures", lambda _config, _store: {"mean_log_ratio": -0.1})
    return found


def driver(root: Path) -> Driver:
    store = Store(str(root))
    return Driver(store, str(Path.cwd()), store.run("sweep"))


def test_a_relative_corpus_is_the_drivers_although_tune_has_changed_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[dict[str, Any]]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "of-the-trial"
    (home / "text/de").mkdir(parents=True)
    (home / "text/de/a.jsonl").write_text('{"text": "ein Satz"}')
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    config = load_config("demo", overrides=["corpus.source=files", "corpus.path=text", "corpus.languages=de"])
    here = driver(tmp_path / "artifacts")
    expected, found = Lineage(config, here.store).shards.key, list[str]()

    def run_everything(config: Config, store: Store, _stops: Folder) -> JsonObject:
        found.append(Lineage(config, store).shards.key)
        return {}

    monkeypatch.setattr(tuning, "run_everything", run_everything)
    monkeypatch.chdir(elsewhere)
    named_trial(here, {"a": resolved(config)}, {"run": "a"})
    chosen_trial(here, resolved(config), {"k": 1})
    assert found == [expected, expected] and reported == [{"mean_log_ratio": -0.1}] * 2
    assert Path.cwd() == elsewhere, "Tune's own files are where it looks for them"


def test_on_a_machine_without_the_drivers_folder_a_trial_runs_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[dict[str, Any]]
) -> None:
    store = Store(str(tmp_path))
    monkeypatch.setattr(tuning, "run_everything", lambda *_: {})
    named_trial(Driver(store, "/nowhere", store.run("s")), {"a": resolved(load_config("demo"))}, {"run": "a"})
    assert reported == [{"mean_log_ratio": -0.1}]


LOST = RayTaskError("f", "Traceback\nValueError: odd", ValueError("odd"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NonFiniteLoss("loss nan"), {"failed": "loss nan"}),
        (CorpusError("no text"), {"failed": "no text"}),
        (ValueError("odd"), {"failed": "ValueError: odd"}),
        (Preempted("as asked"), {"stopped": "as asked"}),
    ],
)
def test_an_error_that_would_come_again_is_a_figure_and_not_tried_again(
    error: Exception,
    expected: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reported: list[dict[str, Any]],
) -> None:
    def run_everything(*_: object) -> JsonObject:
        raise error

    monkeypatch.setattr(tuning, "run_everything", run_everything)
    named_trial(driver(tmp_path), {"a": resolved(load_config("demo"))}, {"run": "a"})
    assert reported == [{"mean_log_ratio": float("inf"), **expected}]


def test_what_a_trial_has_given_up_is_not_trained_again_by_a_later_one_that_needs_it(
    tiny_run: tuple[Config, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[dict[str, Any]]
) -> None:
    config, store = tiny_run
    here, made = Driver(store, str(tmp_path), Store(str(tmp_path)).run("sweep")), list[str]()
    lineage = Lineage(config, store)
    seed, dense = lineage.seed.key, lineage.baselines[0].key

    def run_everything(config: Config, _store: Store, _stops: Folder) -> JsonObject:
        made.append(config.run.name)
        if config.allocation.k == 1:
            raise NotTrained("1 model was not trained", lost)
        return {}

    monkeypatch.setattr(tuning, "run_everything", run_everything)
    said = []
    for lost in ({seed: "its loss was nan"}, {dense: "no memory"}):
        here.stops.remove("sweep/given_up.json")
        for k, random_seed in ((1, 0), (2, 0), (2, 1)):
            chosen_trial(here, resolved(config), {"k": k, "random_seed": random_seed})
        assert tuning.given_up(here) == lost
        said.append([found.get("failed") for found in reported[-3:]])
    assert said == [
        ["1 model was not trained", "the seed was given up in an earlier trial: its loss was nan", None],
        ["1 model was not trained", "dense was given up in an earlier trial: no memory", None],
    ]
    # Those that need what was given up are not begun; of another random seed nothing was.
    assert made == ["tiny.k-1.random_seed-0", "tiny.k-2.random_seed-1"] * 2


def test_an_expert_that_a_trial_has_given_up_is_not_trained_again_for_another_weighting_of_it(
    tiny_run: tuple[Config, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[dict[str, Any]]
) -> None:
    config, store = tiny_run
    here = Driver(store, str(tmp_path), Store(str(tmp_path)).run("sweep"))
    here.stops.write_json("sweep/given_up.json", {Lineage(config, store).experts[1].key: "its loss was nan"})
    monkeypatch.setattr(tuning, "run_everything", lambda *_: {})
    for chosen in ({"power": 0.5}, {"learning_rate": 0.5}):
        chosen_trial(here, resolved(config), chosen)
    assert [found.get("failed") for found in reported] == [
        "expert-01 was given up in an earlier trial: its loss was nan",
        None,
    ]


def test_a_stop_of_the_sweep_ends_a_trial_before_its_next_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[dict[str, Any]]
) -> None:
    here, made = driver(tmp_path), list[str]()

    def first(lineage: Lineage) -> Made:
        assert lineage.stops == here.stops
        made.append("first")
        here.stops.write_json("stop.json", {"reason": "jobs.stop at noon"})
        return {}

    def second(_lineage: Lineage) -> Made:
        made.append("second")
        return {}

    monkeypatch.setattr(everything, "ray_session", lambda _cluster: contextlib.nullcontext())
    monkeypatch.setattr(everything, "_STAGES", (("first", first), ("second", second)))
    named_trial(here, {"a": resolved(load_config("demo"))}, {"run": "a"})
    assert made == ["first"] and "jobs.stop at noon" in reported[0]["stopped"]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (StorageError("the bucket is away"), True),
        (NodeDiedError("node 7"), True),
        (ActorDiedError(), True),
        (LOST, False),
        (ValueError("odd"), False),
        (CorpusError("no text"), False),
    ],
)
def test_a_lost_machine_or_a_storage_that_is_away_is_worth_another_try(error: Exception, passes: bool) -> None:
    assert tuning._may_pass(error) is passes


def test_tune_tries_a_lost_trial_again_as_often_as_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Tuner:
        def __init__(self, _work: object, **settings: Any) -> None:
            made.append(settings["run_config"].failure_config.max_failures)

        def fit(self) -> None:
            """Nothing."""

    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(tune, "with_resources", lambda work, _resources: work)
    config = load_config("demo", overrides=["training.max_failures=5"])
    tuned(config, {}, None, Told(TrialBoard([]), lambda _: pytest.fail("no trial")))
    assert made == [5]


def stopped_in_its_second_trial(begun: Path, chosen: dict[str, Any]) -> None:
    """A trial that says so in a file; the second one is stopped."""
    (begun / str(chosen["run"])).touch()
    figures = {"mean_log_ratio": 0.0, "wins": 0, "languages": 1}
    tune.report(figures if chosen["run"] == "0" else {"mean_log_ratio": 1.0, "stopped": "as asked"})


@pytest.mark.usefixtures("ray_running")
def test_after_a_trial_that_was_stopped_tune_begins_no_other(tmp_path: Path) -> None:
    config = load_config("demo", overrides=["run.name=s", "sweep.power=0.1,0.2,0.3,0.4"])
    outcomes = [Outcome(trial_of(config, {"power": power})) for power in (0.1, 0.2, 0.3, 0.4)]
    told = Told(TrialBoard(outcomes), lambda chosen: outcomes[int(chosen["run"])])
    work = partial(stopped_in_its_second_trial, tmp_path)
    ours = signal.getsignal(signal.SIGINT)
    tuned(config, {"run": tune.grid_search(["0", "1", "2", "3"])}, work, told)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "1"]
    assert [outcome.status for outcome in outcomes] == ["finished", "stopped", "stopped", "stopped"]
    assert signal.getsignal(signal.SIGINT) is ours, "Ctrl-C is the job's, not Tune's"


def test_a_trial_whose_process_was_lost_is_failed_with_the_last_line_though_it_has_no_result(tmp_path: Path) -> None:
    outcome = Outcome(trial_of(load_config("demo", overrides=["sweep.k=2"]), {"k": 2}))
    told = Told(TrialBoard([outcome]), lambda _: outcome)
    said = tmp_path / "error.txt"
    said.write_text("Failure # 1 (occurred at noon)\nThe actor died.\nits node has died\n\n")
    told.on_trial_error(1, [], SimpleNamespace(config={}, error_file=str(said)))
    assert (outcome.status, outcome.reason) == ("failed", "its node has died")
    told.on_trial_error(1, [], SimpleNamespace(config={}, error_file=None))
    assert outcome.reason == "its process was lost"


def test_what_a_trial_has_reported_is_entered_once_and_without_tunes_own_figures() -> None:
    trial = trial_of(load_config("demo", overrides=["sweep.k=2"]), {"k": 2})
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"mean_log_ratio": -0.1, "trial_id": "x"}, "finished", ""),
        ({"mean_log_ratio": float("inf"), "failed": "Traceback\nno text"}, "failed", "no text"),
        ({"mean_log_ratio": float("inf"), "failed": ""}, "failed", "it gave no reason"),
        ({}, "stopped", ""),
        ({"mean_log_ratio": float("inf"), "stopped": "as asked"}, "stopped", ""),
    ]
    for metrics, status, reason in cases:
        outcome = Outcome(trial)
        note(outcome, metrics)
        note(outcome, {"stopped": "later"})
        assert (outcome.status, outcome.reason) == (status, reason)
        assert "trial_id" not in outcome.entry()
