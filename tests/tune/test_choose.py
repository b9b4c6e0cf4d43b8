from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifacts.store import StageFolder, Store
from app.config.load import load_config
from app.evaluation.document_rows import row_writer
from app.evaluation.scores import scored_documents
from app.evaluation.systems import ENSEMBLE
from tune.choose import Recipe, _side_by_side, comparison, on_shared_seeds, paired_difference, pareto_front, recipes
from tune.space import Outcome, Trial


def figures(*rows: tuple[float, float, float]) -> list[dict[str, object]]:
    names = ("mean_log_ratio", "active_parameters", "training_seconds")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_on_the_front_is_what_nothing_beats_in_everything() -> None:
    found = figures((-0.2, 10, 5), (-0.1, 5, 5), (-0.1, 5, 6), (-0.05, 9, 9), (-0.2, 10, 5))
    assert pareto_front(found) == [0, 1, 4]
    assert pareto_front(figures((0.3, 1, 1))) == [0]


def test_a_better_model_on_the_same_documents_is_found_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    documents = {}
    for lang in ("a", "b"):
        base = -rng.uniform(20, 40, size=200)
        documents[lang] = (np.stack([base + 1.0 + rng.normal(0, 0.1, 200), base], axis=1), np.full(200, 10))
    (mean,), low, high = paired_difference([documents], samples=400, seed=0)
    assert low < mean < high < 0 and mean == pytest.approx(-0.1, abs=0.005)


def test_equal_models_do_not_differ() -> None:
    documents = {"a": (np.repeat(-np.arange(1.0, 21.0)[:, None], 2, axis=1), np.full(20, 4))}
    assert paired_difference([documents], 50, 0) == ([0.0], 0.0, 0.0)
    assert math.isclose(-documents["a"][0].sum(axis=0)[0] / 80, 210 / 80)


def test_over_several_seeds_the_interval_is_students_and_as_wide_as_they_differ() -> None:
    """Each seed's difference is the same for all documents: -0.15 ± t(1) · 0.0707 / sqrt(2)."""
    seeds = []
    for better in (0.4, 0.8):  # nats a document of four tokens: log ratios of -0.1 and -0.2
        base = -np.arange(1.0, 21.0)
        seeds.append({"a": (np.stack([base + better, base], axis=1), np.full(20, 4))})
    means, low, high = paired_difference(seeds, samples=400, seed=0)
    assert means == pytest.approx([-0.1, -0.2])
    assert (low, high) == pytest.approx((-0.15 - 12.7062047 * 0.05, -0.15 + 12.7062047 * 0.05))


def test_of_three_seeds_that_say_nothing_the_interval_misses_nothing_more_often_than_it_should() -> None:
    rng, missed = np.random.default_rng(0), 0
    for _ in range(400):
        seeds = []
        for better in rng.normal(0, 0.1, 3):
            base = -np.arange(1.0, 6.0)
            seeds.append({"a": (np.stack([base + 4 * better, base], axis=1), np.full(5, 4))})
        _, low, high = paired_difference(seeds, samples=20, seed=0)
        missed += not low <= 0 <= high
    assert missed <= 32  # 5 % are 20; a bootstrap over three seeds misses 100


def evaluated(store: Store, key: str, blocks: list[tuple[list[str], list[float]]]) -> StageFolder:
    """An evaluation of German documents of four tokens: their names and the ensemble's nats, block by block."""
    stage = store.stage("evaluation", key)
    with row_writer(stage, [ENSEMBLE]) as rows:
        for names, nats in blocks:
            n = len(names)
            rows.add(scored_documents(names, ["de"] * n, [4] * n, [9] * n), {ENSEMBLE: np.array(nats)})
    return stage


def test_trials_stand_side_by_side_on_the_same_documents_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    one = evaluated(store, "one", [(["a", "b"], [-1.0, -2.0]), (["c"], [-3.0])])
    other = evaluated(store, "other", [(["a", "b"], [-4.0, -5.0]), (["c"], [-6.0])])
    found = _side_by_side(one, other)
    assert found is not None
    assert {name: totals["de"].log_prob.tolist() for name, totals in found.by_system().items()} == {
        "first": [-1, -2, -3],
        "second": [-4, -5, -6],
    }
    assert _side_by_side(one, evaluated(store, "fewer", [(["a", "b"], [-4.0, -5.0])])) is None
    assert _side_by_side(one, evaluated(store, "unlike", [(["a", "x"], [-4.0, -5.0]), (["c"], [-6.0])])) is None


def _finished(ratio: float, **settings: Any) -> Outcome:
    return Outcome(Trial(settings, load_config("demo")), "finished", figures={"mean_log_ratio": ratio})


def _failed(**settings: Any) -> Outcome:
    return Outcome(Trial(settings, load_config("demo")), "failed")


def test_the_best_recipe_is_the_one_of_the_least_mean_over_seeds_and_not_of_the_luckiest() -> None:
    steady = [_finished(-0.05, k=2, random_seed=seed) for seed in (1, 2, 3)]
    lucky = [_finished(ratio, k=4, random_seed=seed) for seed, ratio in ((1, 0.0), (2, -0.09), (3, 0.0))]
    ranked = recipes([*lucky, *steady], "grid")
    assert [recipe.outcomes[0].trial.settings["k"] for recipe in ranked] == [2, 4]
    assert ranked[0].mean("mean_log_ratio") == pytest.approx(-0.05)
    assert ranked[1].values("mean_log_ratio") == [0.0, -0.09, 0.0]


def test_in_a_grid_a_recipe_of_which_a_seed_failed_comes_last_and_in_a_search_its_mean_counts() -> None:
    whole = [_finished(-0.05, k=2, random_seed=seed) for seed in (1, 2)]
    found = [_failed(k=8, random_seed=1), _finished(-0.2, k=8, random_seed=2), *whole, _failed(k=1, random_seed=1)]
    for searcher, order in (("grid", [2, 8]), ("random", [8, 2]), ("optuna", [8, 2])):
        ranked = recipes(found, searcher)
        assert [recipe.outcomes[0].trial.settings["k"] for recipe in ranked] == order
        assert {recipe.outcomes[0].trial.settings["k"]: recipe.unfinished for recipe in ranked} == {2: 0, 8: 1}


def test_in_a_search_a_worse_recipe_does_not_win_by_more_seeds() -> None:
    often = [_finished(0.1, k=2, random_seed=seed) for seed in (1, 2, 3)]
    ranked = recipes([*often, _finished(-0.1, k=4, random_seed=2)], "random")
    assert [recipe.outcomes[0].trial.settings["k"] for recipe in ranked] == [4, 2]


def test_recipes_are_compared_on_every_seed_that_both_have() -> None:
    best = Recipe(tuple(_finished(-0.1, k=2, random_seed=seed) for seed in (1, 3, 4)))
    other = Recipe(tuple(_finished(0.0, k=4, random_seed=seed) for seed in (4, 2, 3)))
    pairs = on_shared_seeds(best, other)
    assert [(one.settings["random_seed"], two.settings["random_seed"]) for one, two in pairs] == [(3, 3), (4, 4)]
    alone = (Recipe((_finished(-0.1, k=2),)), Recipe((_finished(0.0, k=4),)))
    assert on_shared_seeds(*alone) == [(alone[0].outcomes[0].trial, alone[1].outcomes[0].trial)]


def test_without_a_seed_in_common_or_the_same_documents_it_says_why_there_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    one, two, other = (Recipe((_finished(0.0, k=k, random_seed=seed),)) for k, seed in ((2, 1), (4, 1), (4, 2)))
    assert comparison(store, one, other)["reason"] == "no random seed was tried with both"
    evaluations = {2: evaluated(store, "two", [(["a"], [-1.0])]), 4: evaluated(store, "four", [(["b"], [-1.0])])}
    monkeypatch.setattr("tune.choose.evaluation_of", lambda _store, trial: evaluations[trial.settings["k"]])
    assert comparison(store, one, two)["reason"] == "scored on other documents"


def test_a_lead_is_clear_only_if_every_seed_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On each seed the documents agree with one another; the mean over seeds is the same."""
    store, evaluations = Store(str(tmp_path)), {}
    for k, seed, nats in ((2, 1, -1.0), (4, 1, -5.0), (2, 2, -1.0), (4, 2, -5.0), (8, 1, 3.0), (8, 2, -13.0)):
        evaluations[k, seed] = evaluated(store, f"{k}-{seed}", [(["a", "b"], [nats, nats])])
    monkeypatch.setattr(
        "tune.choose.evaluation_of", lambda _s, trial: evaluations[trial.settings["k"], trial.settings["random_seed"]]
    )
    two, four, eight = (Recipe(tuple(_finished(0.0, k=k, random_seed=seed) for seed in (1, 2))) for k in (2, 4, 8))
    found = comparison(store, two, four)
    assert (found["clear"], found["worse"], found["by_seed"]) == (True, False, [-1.0, -1.0])
    found = comparison(store, two, eight)
    assert (found["clear"], found["worse"], found["by_seed"]) == (False, False, [1.0, -3.0])
