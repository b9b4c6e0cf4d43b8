from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifacts.store import Folder, Store
from app.config.load import load_config
from app.core.errors import NotTrained, Preempted
from app.fleet import run_fleet
from app.fleet.fleet import Fleet
from app.fleet.run_fleet import repetition, train_fleet
from tests.support.tiny_training import SPEC


def task(weights: dict[str, float], held: dict[str, int]) -> Any:
    return SimpleNamespace(name="expert-03", weights=weights, held=held, spec=replace(SPEC, budget_tokens=100 * 32))


def test_a_language_that_is_repeated_is_said_to_be_with_how_often() -> None:
    told = repetition(task({"de": 0.5, "en": 0.5}, {"de": 1204, "en": 16}))
    assert told == "expert-03: en is repeated 100 times (16 tokens)"
    assert repetition(task({"de": 1.0}, {"de": 1204})) == ""


def test_many_repeated_languages_are_counted_and_the_worst_named() -> None:
    names = [f"l{i}" for i in range(10)]
    told = repetition(task(dict.fromkeys(names, 0.1), {name: 1 + i for i, name in enumerate(names)}))
    assert "l0 is repeated 320 times (1 tokens), l1" in told and told.endswith(" and 6 more languages")


def test_a_mixture_that_cannot_keep_to_its_epochs_says_so() -> None:
    few = task({"de": 1.0}, {"de": 1600})
    assert repetition(few, allowed=2.0) == ""
    assert repetition(few, allowed=1.0) == (
        "expert-03: de is repeated 2 times (1,600 tokens); corpus.mixture_max_epochs is 1: bring more text or lower the"
        " budget"
    )


CONFIG = load_config("demo", overrides=["run.name=sweep"])


def of_runs(store: Store, *runs: str) -> list[Any]:
    """An unfinished ``expert-00`` of each run, with a key of its own."""
    fields = {"name": "expert-00", "weights": {}, "held": {}, "parents": {}, "store": store, "spec": SPEC}
    return [
        SimpleNamespace(**fields, key=f"of-{run}", run=run, stage=store.stage("model", f"of-{run}")) for run in runs
    ]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Folder]:
    """The folders in which fleets look for a stop; no Ray. All their models are given up."""
    folders: list[Folder] = []

    @contextlib.contextmanager
    def machines(_config: object, run: Folder, _cpus: object) -> Iterator[SimpleNamespace]:
        folders.append(run)
        yield SimpleNamespace(slots=lambda: 1, is_interrupted=False)

    def drive(fleet: Fleet, tasks: Mapping[str, Any], _machines: object, _changed: object) -> Fleet:
        if folders[-1].exists("stop.json"):
            return fleet
        for key in tasks:
            fleet = fleet.started(key).failed(key, f"no text for {key}", try_again=False)
        return fleet

    monkeypatch.setattr(run_fleet, "ray_session", lambda _cluster: contextlib.nullcontext())
    monkeypatch.setattr(run_fleet, "ray_machines", machines)
    monkeypatch.setattr(run_fleet, "drive", drive)
    return folders


def test_what_was_given_up_is_told_with_its_reason_by_key_and_recorded_by_run_and_name(
    tmp_path: Path, watched: list[Folder]
) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(NotTrained, match=r"sweep\.k-2/expert-00 after 1 failures: no text") as told:
        train_fleet(CONFIG, of_runs(store, "sweep", "sweep.k-2"))
    assert told.value.reasons == {"of-sweep": "no text for of-sweep", "of-sweep.k-2": "no text for of-sweep.k-2"}
    assert set(store.run("sweep").read_json("fleet.json")) == {"expert-00", "sweep.k-2/expert-00"}
    assert watched == [store.run("sweep")]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_stop_that_is_there_ends_the_training_and_stays_for_what_follows(
    tmp_path: Path, watched: list[Folder], elsewhere: bool
) -> None:
    """It may have been asked for while the stages before were made; the job removes those of before it began."""
    store = Store(str(tmp_path))
    run, other = store.run("sweep"), store.run("other")
    asked = other if elsewhere else run
    asked.write_json("stop.json", {"reason": "jobs.stop"})
    with pytest.raises(Preempted):
        train_fleet(CONFIG, of_runs(store, "sweep"), stops=other if elsewhere else None)
    assert watched == [asked] and asked.exists("stop.json")


@pytest.mark.usefixtures("watched")
def test_a_stop_after_a_model_was_given_up_is_a_stop_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drive(fleet: Fleet, tasks: Mapping[str, Any], _machines: object, _changed: object) -> Fleet:
        first = next(iter(tasks))
        return fleet.started(first).failed(first, "its loss was nan", try_again=False)

    monkeypatch.setattr(run_fleet, "drive", drive)
    with pytest.raises(Preempted, match=r"stopped as asked.*not trained: expert-00 .*its loss was nan"):
        train_fleet(CONFIG, of_runs(Store(str(tmp_path)), "sweep", "sweep.k-2"))
