from __future__ import annotations

import pytest

from app.config.load import load_config
from tune.forecast import sweep_forecast
from tune.space import planned_settings, trial_of

BASE = (
    "corpus.languages=de,en,hi,ja",
    "seed.source=trained",
    "seed.budget_tokens=1024",
    "training.tokens_per_step=1024",
    "training.budget_tokens=8192",
)


def forecast(*overrides: str) -> dict[str, object]:
    config = load_config("demo", overrides=[*BASE, *overrides])
    return dict(sweep_forecast(config, [trial_of(config, settings) for settings in planned_settings(config)]))


def test_what_only_cuts_or_weighs_shares_the_seed_and_the_dense_model() -> None:
    found = forecast("sweep.k=2,4", "sweep.strategy=typological,random", "sweep.weighting=posterior,uniform")
    # of eight trials, two by two the same models: seed and dense once, 2 + 4 experts by language, 2 + 4 at random
    assert (found["trials"], found["models"], found["shared"]) == (8, 2 + 12, 2 * (4 + 6 + 4 + 6) - 14)
    assert found["tokens"] == 1024 + 8192 + 4 * 8192
    assert found["tokens_without_sharing"] == 8 * (1024 + 8192 + 8192)
    assert found["hours"] is None


def test_equal_clusters_of_different_cuts_are_one_expert_and_other_rates_are_other_models() -> None:
    same = forecast("sweep.k=1", "sweep.strategy=typological,anti_typological")
    assert same["models"] == 2  # the one expert of all languages is dense
    rates = forecast("sweep.k=1", "sweep.strategy=typological", "sweep.learning_rate=0.001,0.002")
    assert rates["models"] == 1 + 2  # one seed
    documents = forecast("sweep.k=1", "sweep.strategy=random")
    assert documents["models"] == 3  # one expert of all documents is not


@pytest.mark.parametrize("axis", ["learning_rate=0.001,0.002", "tokens_per_step=1024,2048", "budget_tokens=8192,16384"])
def test_another_training_makes_other_models_of_one_seed_with_steps_of_its_own(axis: str) -> None:
    found = forecast("sweep.k=2", "sweep.strategy=typological", f"sweep.{axis}", "seed.tokens_per_step=1024")
    assert found["models"] == 1 + 2 * 3


def test_a_seed_without_steps_of_its_own_is_another_for_each_number_of_tokens_per_step() -> None:
    found = forecast("sweep.k=2", "sweep.strategy=typological", "sweep.tokens_per_step=512,1024")
    assert found["models"] == 2 * (1 + 3)


def test_seeds_are_one_fleet() -> None:
    found = forecast("sweep.k=1", "sweep.strategy=random", "sweep.random_seed=1,2", "training.gpus_per_expert=1")
    rows = found["hours"]
    assert isinstance(rows, list)
    hours = {row["gpus"]: row["hours"] for row in rows}
    # Two seeds of an eighth each side by side, then dense and one expert of each: 4 parts on 2 or 4 GPUs.
    assert hours[2] / hours[4] == pytest.approx((1 / 8 + 2) / (1 / 8 + 1))


def test_a_trial_that_cannot_be_made_is_named_with_the_reason_and_the_others_are_forecast() -> None:
    found = forecast("run.name=s", "sweep.k=2,5", "sweep.strategy=typological")  # five experts of four languages
    assert (found["trials"], found["models"]) == (1, 1 + 1 + 2)
    impossible = found["impossible"]
    assert isinstance(impossible, dict) and list(impossible) == ["s.k-5.strategy-typological"]
    assert "allocation.k is 5" in str(impossible["s.k-5.strategy-typological"])


def test_a_dense_model_of_as_many_steps_as_an_expert_is_another_for_each_k() -> None:
    base = ("sweep.k=2,4", "sweep.strategy=random")
    assert forecast(*base)["models"] == 1 + 1 + 2 + 4
    assert forecast(*base, "baselines.dense_wide.equal_steps=true")["models"] == 1 + 1 + 2 + (2 + 4)


def test_on_gpus_the_hours_are_those_of_the_planner() -> None:
    found = forecast("sweep.k=1", "sweep.strategy=random", "training.gpus_per_expert=1")
    (one, both) = found["hours"]  # type: ignore[misc]
    assert (one["gpus"], both["gpus"]) == (1, 2)
    # seed (an eighth of dense), then dense and one expert of the same size: 17 parts alone, 9 side by side
    assert one["hours"] / both["hours"] == pytest.approx(17 / 9)
