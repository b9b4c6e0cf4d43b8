from __future__ import annotations

import math
from dataclasses import replace

import pytest

from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import read_ensemble, write_ensemble
from app.artifacts.store import Store
from app.config.schema import Config
from tune.figures import FIGURES, slot_hours, trial_figures


def test_figures_of_a_finished_run_are_those_of_its_summary_and_models(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    found = trial_figures(config, store)
    assert set(found) == set(FIGURES), "what a sweep keeps of a trial"
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
    assert float(str(found["slot_hours"])) > 0 and found["gpu_hours"] == 0  # no GPU trained here


def test_a_model_that_is_dense_and_the_only_expert_was_trained_once(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    run, alone = store.run(config.run.name), store.run("alone")
    record = read_ensemble(run, "")
    dense = replace(record.experts[0], model=record.models["dense"], languages=("de", "en", "hi", "ja"))
    write_ensemble(alone, replace(record, run="alone", experts=(dense,), shares={}))
    alone.write_json("evaluation/summary.json", run.read_json("evaluation/summary.json"))
    found = trial_figures(config.model_copy(update={"run": config.run.model_copy(update={"name": "alone"})}), store)
    made = [store.stage("model", record.models[name]).counts(ModelCounts) for name in ("seed", "dense")]
    assert found["training_seconds"] == pytest.approx(sum(counts.training_seconds for counts in made))


def test_hours_of_slots_count_the_workers_of_each_model() -> None:
    models = [
        ModelCounts("seed", 9, "", training_seconds=3600.0, workers=2),
        ModelCounts("dense", 9, "", training_seconds=1800.0, attempt_seconds=600.0),
        ModelCounts("copied", 9, ""),
    ]
    assert slot_hours(models) == 2 * 1 + 0.5
    assert slot_hours([]) == 0
