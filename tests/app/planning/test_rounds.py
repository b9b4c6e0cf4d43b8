from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app.adaptation.rounds import NewExpert
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord
from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.planning.plan import make_plan
from app.planning.rounds import forecast_round

ADDED = [NewExpert("expert-02", ("pl",), "ru", "expert-00", 1)]
SETTINGS = (
    "training.budget_tokens=80000",
    "training.sequence_length=100",
    "training.tokens_per_step=1000",
    "adaptation.donor_share=0.25",
)


def test_an_expert_costs_as_many_flops_as_the_plan_says_and_lapt_stands_beside_it(tmp_path: Path) -> None:
    config, store = load_config("demo", overrides=[*SETTINGS, "allocation.k=2"]), Store(str(tmp_path))
    found: Any = forecast_round(config, store, ADDED, 2, None)
    models = {model["name"]: model for model in found["models"]}
    assert {name: model["tokens"] for name, model in models.items()} == {
        "expert-02": 40000,
        "lapt_pl_total": 40000,
        "lapt_pl_new": 30000,
    }
    plan: Any = make_plan(config, store)
    first = next(model for model in plan["models"] if model["name"] == "expert-00")
    assert models["expert-02"]["flops"] == first["flops"] and models["expert-02"]["steps"] == first["steps"] == 40
    assert found["time_from"] is None and models["expert-02"]["seconds"] is None


def test_time_is_that_of_the_runs_experts_or_on_gpus_that_of_planning(tmp_path: Path) -> None:
    config, store = load_config("demo", overrides=[*SETTINGS, "adaptation.lapt=false"]), Store(str(tmp_path))
    counts = asdict(ModelCounts("expert-00", 9, "", tokens_seen=5000, training_seconds=10.0))
    store.stage("model", "k0").publish(Manifest("model", "k0", {}, {}, counts, 0.0))
    experts = (ExpertRecord("expert-00", "k0", None, 0, ("ru",), ""), ExpertRecord("gone", "k1", None, 0, ("de",), ""))
    record = EnsembleRecord("r", experts, "a", "t", {"dense": "d"})
    (model,) = forecast_round(config, store, ADDED, 2, record)["models"]  # type: ignore[misc]
    assert model["seconds"] == pytest.approx(40000 / 500)  # type: ignore[index,call-overload]
    on_gpus = load_config("demo", overrides=[*SETTINGS, "adaptation.lapt=false", "training.gpus_per_expert=1"])
    found: Any = forecast_round(on_gpus, store, ADDED, 2, record)
    plan: Any = make_plan(
        on_gpus.model_copy(update={"allocation": on_gpus.allocation.model_copy(update={"k": 2})}), store
    )
    assert found["time_from"] == "planning"
    assert found["models"][0]["seconds"] == pytest.approx(plan["gpu_hours"]["expert-00"] * 3600)


def test_a_seed_that_is_not_here_has_tokens_but_no_flops(tmp_path: Path) -> None:
    config = load_config("demo", overrides=[*SETTINGS, f"seed.model={tmp_path}/nothing"])
    found: Any = forecast_round(config, Store(str(tmp_path)), ADDED, 2, None)
    assert found["models"][0]["flops"] is None and found["models"][0]["tokens"] == 40000
