from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.records import JsonObject
from tests.support.tiny import TINY
from tune import outcome as outcome_module
from tune.figures import trial_figures
from tune.outcome import CHOSEN, PARQUET, TABLE, _losses, _text, _verdict, told
from tune.space import Outcome, Trial, trial_of


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
        "lowest": {"run": "s.k-4", "log_ratio_to_best": -0.02, "why": "whose own dense model is weaker"},
        "runner_up": {"against": "s.k-4", "low": 0.01, "high": 0.03, "clear": False, "worse": True, "by_seed": [0.02]},
        "fewer_seeds": [{"run": "s.k-8", "unfinished": 1, "of": 3}],
    }
    text = _text(result, "chosen.yaml", "page")
    assert "mean of 3 random seeds -2.96%, from -3.92% to +0.00%" in text
    assert "it HAS A CLEARLY HIGHER perplexity than s.k-4: [+1.01%, +3.05%]" in text and "clearly beat" not in text
    assert "lowest   s.k-4: perplexity -1.98% against the best" in text
    assert "seeds    s.k-8: 1 of 3 random seeds did not finish" in text


def test_a_verdict_says_how_many_seeds_agree_or_why_there_is_none() -> None:
    found: JsonObject = {"against": "s.k-4", "low": -0.03, "high": -0.01, "clear": True, "worse": False}
    assert _verdict({**found, "by_seed": [-0.02, -0.01]}) == (
        "it beats s.k-4: [-2.96%, -1.00%] on the same documents, better with 2 of 2 random seeds"
    )
    none: JsonObject = {"against": "s.k-4", "clear": None, "reason": "scored on other documents"}
    assert _verdict(none) == "nothing can be said against s.k-4: scored on other documents"


def test_the_loss_of_a_trial_is_the_mean_at_equal_shares_of_training_whenever_each_expert_has_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By hand: one expert of 100 tokens logs at 50 and 100, one of 300 at 60 and 300, and one of a later round at all.
    logged = {"a": [(50, 4.0), (100, 2.0)], "b": [(60, 8.0), (300, 4.0)], "late": [(1, 99.0), (300, 99.0)]}
    experts = [SimpleNamespace(model=model, round=int(model == "late")) for model in logged]
    monkeypatch.setattr(outcome_module, "read_ensemble", lambda *_: SimpleNamespace(experts=experts))
    rows = {model: [{"tokens_seen": tokens, "loss": loss} for tokens, loss in rows] for model, rows in logged.items()}
    monkeypatch.setattr(outcome_module, "metrics_rows", lambda stage: rows[stage.key])
    # Both have logged from half of their training on: there b is a line from 8 at 60 to 4 at 300, 6.5 at 150.
    assert _losses(Store(str(tmp_path)), "r") == [(100.0, pytest.approx(5.25)), (200.0, pytest.approx(3.0))]
    rows["a"] = []
    assert _losses(Store(str(tmp_path)), "r") == []


def test_where_no_trial_finished_no_configuration_is_left_to_take(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    sweep = load_config("demo", overrides=[f"artifacts.root={store.root}", "run.name=s", "sweep.k=2,3"])
    store.run("s").write(CHOSEN, b"of a sweep before")
    trials = [Outcome(trial_of(sweep, {"k": k}), "failed", "no text") for k in (2, 3)]
    found = told(sweep, store, trials)
    assert "config   none: no trial has finished" in str(found["text"]) and not store.run("s").exists(CHOSEN)
