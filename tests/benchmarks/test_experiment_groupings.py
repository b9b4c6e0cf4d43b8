from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.layout import SUMMARY
from app.artifacts.store import Store
from app.core.errors import ConfigError
from benchmarks import experiment_groupings
from benchmarks.experiment import Cut
from benchmarks.experiment_groupings import ONCE, SEVERAL, forecast, plan


def test_the_cuts_of_experiment_seeds_come_with_each_seed_and_the_others_with_the_first() -> None:
    planned = plan([3, 4], [], [])
    assert set(planned[3]) == {*SEVERAL, *ONCE} and set(planned[4]) == set(SEVERAL)
    assert Cut("anti_typological", 8) in ONCE
    run = planned[4][Cut("tfidf", 8)]
    assert (run.run.name, run.run.seed, run.allocation.k) == ("experiment-tfidf-k8-seed4", 4, 8)


def test_single_strategies_can_be_chosen_and_an_unknown_one_is_named() -> None:
    assert list(plan([0], ["anti_typological"], [])[0]) == [Cut("anti_typological", 8)]
    with pytest.raises(ConfigError, match="did you mean 'tfidf'"):
        plan([0], ["tfid"], [])


def test_what_is_done_is_not_forecast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        experiment_groupings,
        "forecast_seconds",
        lambda configs, experts_only: len(configs) + (0 if experts_only else 100),
    )
    store = Store(str(tmp_path))
    planned = plan([0], ["typological", "anti_typological"], [])
    assert forecast(planned, store) == 102
    store.run("experiment-typological-k8").write_json(SUMMARY, {})
    assert forecast(planned, store) == 1
    store.run("experiment-anti_typological-k8").write_json(SUMMARY, {})
    assert forecast(planned, store) == 0
