from __future__ import annotations

import csv
import io

import pyarrow.parquet as pq

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.records import JsonObject
from tests.support.tiny import TINY
from tune.figures import trial_figures
from tune.outcome import PARQUET, TABLE, _text, told
from tune.space import Outcome, Trial


def test_files_and_text_of_a_sweep(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    sweep = load_config("demo", overrides=[*TINY, f"artifacts.root={store.root}", "run.name=sweep-told", "sweep.k=2,3"])
    one = Outcome(Trial({"k": 2}, config), "finished", figures=trial_figures(config, store))
    other = Outcome(Trial({"k": 3}, config), "failed", "no text")
    found = told(sweep, store, [one, other])
    assert found["ok"] is False and found["front"] == ["tiny"] and found["runner_up"] is None
    text = str(found["text"])
    assert "k=2    finished" in text and "no text" in text and "best     tiny" in text
    assert found["lowest"] is None and "seeds" not in found["best"]  # type: ignore[operator]
    run = store.run("sweep-told")
    rows = list(csv.DictReader(io.StringIO(run.read(TABLE).decode())))
    assert [row["status"] for row in rows] == ["finished", "failed"] and [row["k"] for row in rows] == ["2", "3"]
    table = pq.read_table(io.BytesIO(run.read(PARQUET)))
    assert table["mean_log_ratio"].to_pylist() == [one.figures["mean_log_ratio"], None]


def test_a_best_of_several_seeds_that_is_worse_than_another_recipe_says_both() -> None:
    result: JsonObject = {
        "trials": [],
        "best": {
            "run": "s.k-2",
            "mean_log_ratio": -0.04,
            "seeds": {"count": 3, "mean": -0.03, "least": -0.04, "most": 0},
        },
        "lowest": {"run": "s.k-4", "log_ratio_to_best": -0.02},
        "runner_up": {"against": "s.k-4", "low": 0.01, "high": 0.03, "clear": False, "worse": True},
    }
    text = _text(result, "chosen.yaml", "page")
    assert "mean of 3 random seeds -2.96%, from -3.92% to +0.00%" in text
    assert "it HAS A CLEARLY HIGHER perplexity than s.k-4: [+1.01%, +3.05%]" in text and "clearly beat" not in text
    assert "lowest   s.k-4: perplexity -1.98% against the best" in text
