from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.records import JsonObject
from benchmarks import experiment
from benchmarks.experiment import RESULTS, Cut, run_cuts


def test_a_run_that_was_finished_before_has_one_row_and_one_that_is_made_anew_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, made = Store(str(tmp_path)), [0.1]

    def everything(config: Config, store: Store) -> None:
        headline: JsonObject = {"mean": made[0], "experts": ["a"]}
        store.run(config.run.name).write_json("evaluation/summary.json", {**headline, "systems": {}})

    monkeypatch.setattr(experiment, "run_everything", everything)
    monkeypatch.setattr(experiment, "headline_text", str)
    configs = {Cut("typological", 8): load_config("experiment", overrides=["run.name=one"])}
    for _ in range(3):
        run_cuts(configs, store)
    made[0] = 0.2
    run_cuts(configs, store)
    rows = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert [row["mean"] for row in rows] == [0.1, 0.2] and rows[0]["cut"] == "typological k=8"
