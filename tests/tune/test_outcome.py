from __future__ import annotations

import csv
import io

import pyarrow.parquet as pq

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from tests.support.tiny import TINY
from tune.figures import trial_figures
from tune.outcome import PARQUET, TABLE, told
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
    run = store.run("sweep-told")
    rows = list(csv.DictReader(io.StringIO(run.read(TABLE).decode())))
    assert [row["status"] for row in rows] == ["finished", "failed"] and [row["k"] for row in rows] == ["2", "3"]
    table = pq.read_table(io.BytesIO(run.read(PARQUET)))
    assert table["mean_log_ratio"].to_pylist() == [one.figures["mean_log_ratio"], None]
