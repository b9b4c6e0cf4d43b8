from __future__ import annotations

import math

import pytest

from app.artifacts.store import Store
from app.config.schema import Config
from tune.figures import trial_figures


def test_figures_of_a_finished_run_are_those_of_its_summary_and_models(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    found = trial_figures(store, config.run.name)
    summary = store.run(config.run.name).read_json("evaluation/summary.json")
    assert found["mean_log_ratio"] == summary["mean_log_perplexity_ratio"]
    changes = {
        lang: math.log(cells["ensemble"]["perplexity"] / cells["dense"]["perplexity"])
        for lang, cells in summary["per_language"].items()  # type: ignore[union-attr, index, call-overload]
    }
    worst = max(changes, key=lambda lang: changes[lang])
    assert found["worst_language"] == worst and found["worst_log_ratio"] == pytest.approx(changes[worst])
    active, total = float(str(found["active_parameters"])), float(str(found["total_parameters"]))
    assert total / 2 <= active <= total
