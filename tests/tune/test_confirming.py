from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import ConfigError, TrainingError
from app.evaluation.document_rows import row_writer
from app.evaluation.scores import scored_documents
from tune import confirming
from tune.confirming import CHOOSES, REPORTS, choose, confirmed, totals
from tune.halves import half_of
from tune.space import Outcome, Trial, trial_of

NAMES = [f"d{number}" for number in range(8)]
LANGS = ["de"] * 4 + ["hi"] * 4
TOKENS = 10
BASE = ("corpus.languages=de,hi", "evaluation.bootstrap_samples=200", "sweep.fresh_seeds=1,2")


def config(*overrides: str) -> Config:
    return load_config("demo", overrides=[*BASE, *overrides])


def write(store: Store, key: str, nats: Mapping[str, Sequence[float]]) -> None:
    """An evaluation in which every document of the first and of the second half has these nats a token by system."""
    halves = [half_of(NAMES, LANGS, half) for half in (CHOOSES, REPORTS)]
    sums = {}
    for system, by_half in nats.items():
        values = np.zeros(len(NAMES))
        for places, each in zip(halves, by_half, strict=True):
            values[places] = -TOKENS * each
        sums[system] = values
    documents = scored_documents(NAMES, LANGS, [TOKENS] * len(NAMES), [9] * len(NAMES))
    with row_writer(store.stage("evaluation", key), list(sums)) as rows:
        rows.add(documents, sums)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Evaluations are found by the name of the trial, and no sweep runs: its outcomes are those that are there."""
    store = Store(str(tmp_path))
    monkeypatch.setattr(confirming, "evaluation_of", lambda store, trial: store.stage("evaluation", trial.name))
    return store


def finished(config: Config, **settings: Any) -> Outcome:
    return Outcome(trial_of(config, settings), "finished")


def test_ensemble_and_dense_are_chosen_apart_on_the_first_half_alone(store: Store) -> None:
    outcomes = [finished(config(), k=2, learning_rate=rate) for rate in (0.001, 0.002, 0.004)]
    by_trial = (
        {"ensemble": (3.0, 1.0), "dense": (2.8, 1.0)},  # the best on the second half, which must not be looked at
        {"ensemble": (2.5, 9.0), "dense": (2.9, 9.0)},
        {"ensemble": (2.6, 9.0), "dense": (2.7, 9.0)},
    )
    for outcome, nats in zip(outcomes, by_trial, strict=True):
        write(store, outcome.trial.name, nats)
    chosen = choose(store, outcomes)
    assert (chosen.ensemble, chosen.dense) == (outcomes[1].trial, outcomes[2].trial)


def test_totals_are_of_the_documents_of_one_half(store: Store) -> None:
    trial = trial_of(config(), {"k": 2})
    write(store, trial.name, {"ensemble": (1.0, 2.0)})
    for half, nats in ((CHOOSES, 1.0), (REPORTS, 2.0)):
        found = totals(store, trial, "ensemble", half)
        assert {lang: (part.documents, part.nats_per_token) for lang, part in found.items()} == {
            "de": (2, nats),
            "hi": (2, nats),
        }


def test_dense_of_another_recipe_is_trained_as_the_one_expert_of_a_run_of_its_own() -> None:
    ensemble = trial_of(config(), {"k": 2, "strategy": "random", "learning_rate": 0.002, "power": 0.5})
    dense = trial_of(config(), {"k": 1, "strategy": "tfidf", "learning_rate": 0.004, "power": 1.0})
    mine, theirs = confirming.Chosen(ensemble, dense).fresh(config(), 7)
    assert mine.settings == {**ensemble.settings, "random_seed": 7} and mine.config.run.seed == 7
    assert theirs.settings == {"k": 1, "strategy": "typological", "learning_rate": 0.004, "random_seed": 7}
    # The cut and the weighting are nothing to a dense model.
    same = trial_of(config(), {"k": 1, "strategy": "tfidf", "learning_rate": 0.002, "power": 1.0})
    mine, theirs = confirming.Chosen(ensemble, same).fresh(config(), 7)
    assert mine is theirs


def test_fresh_seeds_report_on_the_second_half(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-worked: log ratios of 1.7 - 1.8 and 1.9 - 1.8 on the second half, whatever the first one says."""
    asked = config("sweep.learning_rate=0.001,0.002")
    searched = [finished(asked, learning_rate=rate) for rate in (0.001, 0.002)]
    write(store, searched[0].trial.name, {"ensemble": (2.0, 3.0), "dense": (2.5, 3.5), "seed": (4.0, 4.0)})
    write(store, searched[1].trial.name, {"ensemble": (2.2, 1.0), "dense": (2.4, 3.1), "seed": (4.0, 4.0)})
    trained: list[str] = []

    def run_trials(_config: Config, store: Store, trials: Sequence[Trial]) -> list[Outcome]:
        for trial in trials:
            trained.append(trial.name)
            second = {1: 1.7, 2: 1.9}[trial.config.run.seed]
            dense = 1.8 if trial.settings["learning_rate"] == 0.002 else 9.0
            write(store, trial.name, {"ensemble": (0.0, second), "dense": (5.0, dense), "seed": (4.0, 4.0)})
        return [Outcome(trial, "finished") for trial in trials]

    monkeypatch.setattr(confirming, "run_sweep", lambda _config, _store: searched)
    monkeypatch.setattr(confirming, "run_trials", run_trials)
    found: dict[str, Any] = confirmed(asked, store)
    assert found["chosen"] == {"ensemble": {"learning_rate": 0.001}, "dense": {"learning_rate": 0.002}}
    assert len(trained) == 4 and found["searched"] == 2
    assert [each["mean_log_perplexity_ratio"] for each in found["by_seed"]] == pytest.approx([-0.1, 0.1])
    assert [each["wins_over_dense"] for each in found["by_seed"]] == [2, 0] and found["wins"] == 0
    # Every document agrees, so the interval is Student's of two values with a deviation of 0.1 sqrt(2).
    half = 12.7062047 * 0.1
    assert (found["mean_log_ratio"], found["low"], found["high"]) == pytest.approx((0.0, -half, half), abs=1e-6)
    chooser = {name: each["mean_log_perplexity_ratio"] for name, each in found["chooser"].items()}
    assert chooser == pytest.approx({"half_that_chose": 2.0 - 2.4, "other_half": 3.0 - 3.1})
    assert f"{math.expm1(-0.1):+.2%}" in found["text"] and "learning_rate=0.002" in found["text"]
    kept = store.run(asked.run.name).read_json(confirming.FILE)
    assert kept == {name: value for name, value in found.items() if name not in ("text", "ok")}
    # With two documents a half no win is clear.
    assert found["ok"] is True and not found["by_seed"][0]["can_be_clear"] and found["text"].count("–") == 4


def test_a_fresh_trial_that_failed_is_named_and_so_is_a_search_without_an_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config("sweep.k=2")
    searched = [finished(asked, k=2)]
    write(store, searched[0].trial.name, {"ensemble": (2.0, 3.0), "dense": (2.5, 3.5)})
    monkeypatch.setattr(confirming, "run_sweep", lambda _config, _store: searched)
    monkeypatch.setattr(
        confirming, "run_trials", lambda _c, _s, trials: [Outcome(trial, "failed", "no disk") for trial in trials]
    )
    with pytest.raises(TrainingError, match=r"demo\.k-2\.random_seed-1 is not trained: no disk"):
        confirmed(asked, store)
    searched[:] = [Outcome(searched[0].trial, "failed", "no disk")]
    with pytest.raises(TrainingError, match="no trial of the search has finished"):
        confirmed(asked, store)


def test_what_failed_in_the_search_and_languages_without_halves_are_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config("sweep.learning_rate=0.001,0.002")
    searched = [
        finished(asked, learning_rate=0.001),
        Outcome(trial_of(asked, {"learning_rate": 0.002}), "failed", "nan"),
    ]

    def scored(trial: Trial) -> None:
        documents = scored_documents([*NAMES, "alone"], [*LANGS, "ja"], [TOKENS] * 9, [9] * 9)
        with row_writer(store.stage("evaluation", trial.name), ["ensemble", "dense", "seed"]) as rows:
            rows.add(documents, {name: -np.arange(1.0, 10.0) for name in ("ensemble", "dense", "seed")})

    def run_trials(_config: Config, _store: Store, trials: Sequence[Trial]) -> list[Outcome]:
        for trial in trials:
            scored(trial)
        return [Outcome(trial, "finished") for trial in trials]

    scored(searched[0].trial)
    monkeypatch.setattr(confirming, "run_sweep", lambda _config, _store: searched)
    monkeypatch.setattr(confirming, "run_trials", run_trials)
    found: dict[str, Any] = confirmed(asked, store)
    assert found["ok"] is False and found["failed"] == {searched[1].trial.name: "nan"}
    assert found["left_out"] == ["ja"] and found["by_seed"][0]["languages_compared"] == 2
    assert "searched 1 of 2 trials" in found["text"] and "left out ja" in found["text"]
    assert f"failed   {searched[1].trial.name}: nan" in found["text"]


def test_one_document_a_language_is_refused_with_the_cure(store: Store) -> None:
    trial = trial_of(config(), {"k": 2})
    with row_writer(store.stage("evaluation", trial.name), ["ensemble"]) as rows:
        rows.add(scored_documents(["a"], ["de"], [TOKENS], [9]), {"ensemble": np.array([-1.0])})
    with pytest.raises(ConfigError, match="max_documents_per_language"):
        totals(store, trial, "ensemble", CHOOSES)


def test_a_dry_run_counts_what_the_fresh_seeds_train_at_most() -> None:
    asked = config("sweep.learning_rate=0.001,0.002")
    found = confirming.foreseen_trials(asked)
    assert [trial.settings for trial in found] == [
        {"learning_rate": 0.001},
        {"learning_rate": 0.002},
        *(
            {**settings, "random_seed": seed}
            for seed in (1, 2)
            for settings in ({"learning_rate": 0.001}, {"k": 1, "strategy": "typological", "learning_rate": 0.002})
        ),
    ]
    with pytest.raises(ConfigError, match="no fresh random seed"):
        confirming.foreseen_trials(config("sweep.k=2", "sweep.fresh_seeds=[]"))


def test_models_scored_on_other_documents_are_not_compared(store: Store) -> None:
    one, other = trial_of(config(), {"k": 1}), trial_of(config(), {"k": 2})
    write(store, one.name, {"ensemble": (1.0, 1.0), "seed": (1.0, 1.0)})
    documents = scored_documents(["a", "b"], ["de", "de"], [TOKENS] * 2, [9] * 2)
    with row_writer(store.stage("evaluation", other.name), ["dense"]) as rows:
        rows.add(documents, {"dense": np.array([-1.0, -1.0])})
    with pytest.raises(ConfigError, match="scored on other documents"):
        confirming._sides(store, one, other, REPORTS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("sweep.k=2", "sweep.fresh_seeds=[]"), "no fresh random seed is named"),
        (("sweep.k=2", "sweep.random_seed=1,2"), "take sweep.random_seed out"),
        (("sweep.k=2", "run.seed=2"), "run.seed out of sweep.fresh_seeds"),
        (("sweep.budget_tokens=1000,2000",), "sweep.budget_tokens would give"),
        (("sweep.k=2", "sweep.searcher=optuna"), "use grid or random"),
        (("sweep.k=2", "baselines.dense.equal_steps=true"), "take baselines.dense out"),
        ((), "the sweep tries nothing"),
    ],
)
def test_a_search_that_would_say_nothing_is_refused(store: Store, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        confirmed(config(*settings), store)
