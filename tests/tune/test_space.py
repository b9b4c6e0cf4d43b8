from __future__ import annotations

import pytest

from app.config.load import load_config
from app.core.errors import ConfigError
from tune.space import axes_of, grid, planned_settings, trial_name, trial_of

BASE = load_config("demo", overrides=["run.name=s", "sweep.k=2,4", "sweep.strategy=typological,random"])


def test_a_grid_is_every_combination() -> None:
    assert planned_settings(BASE) == [
        {"k": 2, "strategy": "typological"},
        {"k": 2, "strategy": "random"},
        {"k": 4, "strategy": "typological"},
        {"k": 4, "strategy": "random"},
    ]
    assert len(list(grid({"a": [1, 2, 3], "b": [1, 2], "c": [0]}))) == 6


def test_a_value_that_is_typed_twice_is_tried_once() -> None:
    twice = load_config("demo", overrides=["sweep.k=2,2", "sweep.learning_rate=0.001,1e-3"])
    assert planned_settings(twice) == [{"k": 2, "learning_rate": 0.001}]


def test_a_random_search_draws_each_point_at_most_once_and_the_same_for_a_seed() -> None:
    drawn = load_config("demo", overrides=["sweep.k=1,2,3,4", "sweep.searcher=random", "sweep.trials=3"])
    points = planned_settings(drawn)
    assert len(points) == len({point["k"] for point in points}) == 3 and points == planned_settings(drawn)


def test_a_trial_is_the_config_with_its_settings_and_a_run_of_its_own() -> None:
    trial = trial_of(BASE, {"k": 2, "strategy": "random", "seed_width": 32})
    assert trial.name == trial.config.run.name == "s.k-2.strategy-random.seed_width-32"
    assert (trial.config.allocation.k, trial.config.allocation.strategy) == (2, "random")
    assert (trial.config.seed.width, trial.config.seed.ffn_width) == (32, 128)
    assert trial.config.training == BASE.training and not trial.config.sweep.k
    with pytest.raises(ConfigError, match=r"evaluation\.weighting"):
        trial_of(BASE, {"weighting": "fourier"})
    with pytest.raises(ConfigError, match="did you mean 'typological'"):
        trial_of(BASE, {"strategy": "typology"})


def test_a_name_holds_only_what_a_folder_may() -> None:
    assert trial_name("s", {"learning_rate": 1e-05, "mixture": "a b/c"}) == "s.learning_rate-1e-05.mixture-a-b-c"


def test_widths_of_a_seed_that_is_not_trained_are_refused() -> None:
    widths = "sweep.seed_width=32,64"
    with pytest.raises(ConfigError, match=r"seed\.source=pretrained .* seed\.source=trained, or take"):
        axes_of(load_config("demo", overrides=[widths]))
    assert axes_of(load_config("demo", overrides=[widths, "seed.source=trained"])) == {"seed_width": (32, 64)}


def test_a_sweep_that_tries_nothing_says_how() -> None:
    with pytest.raises(ConfigError, match=r"--set sweep\.k=2,4"):
        axes_of(load_config("demo"))
