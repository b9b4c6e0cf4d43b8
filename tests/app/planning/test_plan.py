from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import ConfigError
from app.planning.forecast import forecast
from app.planning.plan import make_plan, planned_work, seed_size

XGLM_1_7B = 1_732_907_008


def planned(root: Path, preset: str, *overrides: str) -> dict[str, Any]:
    return dict(make_plan(load_config(preset, overrides=overrides), Store(str(root))))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Ray nor the network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan starts nothing and asks nobody")

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.usefixtures("alone")
def test_the_papers_run_by_hand(tmp_path: Path) -> None:
    plan = planned(tmp_path, "paper-k8", "planning.gpus.L40S.on_demand=2", "planning.head_per_hour=0")
    assert plan["seed"]["parameters"] == XGLM_1_7B
    per_token = 6 * XGLM_1_7B + 6 * 24 * 2048 * 2048
    hours = 40_000 * 524_288 * per_token / (362e12 * 0.4) / 3600
    assert plan["gpu_hours"]["dense"] == pytest.approx(hours)
    assert plan["gpu_hours"]["expert-07"] == pytest.approx(hours / 8)
    assert [row["gpus"] for row in plan["wall"]] == [1, 2, 4, 8, 9]
    assert plan["wall"][0]["hours"] == pytest.approx(2 * hours)
    eight = plan["wall"][3]
    assert [eight["hours"], eight["hours_experts"]] == pytest.approx([hours, hours / 8])
    assert [row["money_on_demand"] for row in plan["wall"]] == pytest.approx([4 * hours] * 5)
    assert plan["memory"] == {"training_bytes": 16 * XGLM_1_7B, "workers": 1, "gpu_share": 1}
    assert plan["storage"]["checkpoints_of_a_model"] == 3 * 12 * XGLM_1_7B
    assert plan["storage"]["models"] == 10 * 4 * XGLM_1_7B and plan["storage"]["tokens"] == 4 * 20_971_520_000
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("alone")
def test_with_fsdp_each_worker_holds_its_cut_and_two_whole_layers(tmp_path: Path) -> None:
    settings = ("training.workers_per_expert=[4,4]", "training.parallelism=fsdp")
    memory = planned(tmp_path, "paper-k8", *settings)["memory"]
    layer = 4 * (2048**2 + 2048) + 2 * 2048 * 8192 + 8192 + 2048 + 4 * 2048
    whole = XGLM_1_7B - 22 * layer  # the embedding, the last norm and two of 24 layers
    assert memory == {"training_bytes": 4 * XGLM_1_7B + 8 * whole, "workers": 4, "gpu_share": 1}
    assert planned(tmp_path, "paper-k8", settings[0])["memory"]["training_bytes"] == 16 * XGLM_1_7B


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("strategy", ["typological", "tfidf"])
def test_the_tokens_are_those_of_every_dry_run_in_whole_steps(tmp_path: Path, strategy: str) -> None:
    config = load_config("demo", overrides=[f"allocation.strategy={strategy}"])
    works, told = planned_work(config, seed_size(config)), forecast(config, Store(str(tmp_path)))
    budgets = told["tokens_per_expert"]
    assert isinstance(budgets, list) and [work.name for work in works][:2] == ["dense", "expert-00"]
    step = config.training.tokens_per_step
    for work, budget in zip(works, [config.training.budget_tokens, *budgets], strict=True):
        assert work.tokens == work.steps * step and abs(work.tokens - int(str(budget))) <= step / 2


@pytest.mark.usefixtures("alone")
def test_without_gpus_there_are_no_hours_and_no_money(tmp_path: Path) -> None:
    plan = planned(tmp_path, "demo")
    assert plan["gpu"] is None and "wall" not in plan and "training.gpus_per_expert is 0" in plan["text"]


@pytest.mark.usefixtures("alone")
def test_a_seed_that_is_trained_is_planned_too(tmp_path: Path) -> None:
    plan = planned(tmp_path, "small", "training.gpus_per_expert=1")
    assert plan["models"][0]["name"] == "seed" and plan["gpu_hours"]["seed"] > 0


def test_a_seed_with_steps_of_its_own_is_planned_with_them() -> None:
    config = load_config("small", overrides=["seed.tokens_per_step=8192", "training.tokens_per_step=1024"])
    seed, dense = planned_work(config, seed_size(config))[:2]
    assert (seed.name, seed.tokens / seed.steps, dense.tokens / dense.steps) == ("seed", 8192, 1024)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (("allocation.strategy=typological",), ["dense"]),
        (("allocation.strategy=random",), ["dense", "expert-00"]),
        (("allocation.strategy=typological", "baselines.dense.equal_steps=true"), ["dense", "expert-00"]),
    ],
)
@pytest.mark.usefixtures("alone")
def test_the_only_expert_of_all_languages_is_the_dense_model_and_planned_once(
    tmp_path: Path, settings: tuple[str, ...], names: list[str]
) -> None:
    config = load_config("demo", overrides=["allocation.k=1", *settings])
    assert [work.name for work in planned_work(config, seed_size(config))] == names
    gpus = ("allocation.k=1", "training.gpus_per_expert=1", "planning.simulate=true", "planning.draws=5", *settings)
    assert [model["name"] for model in planned(tmp_path, "demo", *gpus)["models"]] == names


def test_a_seed_of_unknown_size_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody/nothing"):
        planned(tmp_path, "demo", "seed.model=nobody/nothing")


def test_a_run_that_has_saved_lends_its_times(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name, seconds in (("a", 30.0), ("b", 50.0)):
        counts = {"saves": 4, "saving_seconds": 8.0, "save_seconds": seconds}
        store.stage("model", name).publish(Manifest("model", name, {}, {}, counts))
    store.stage("model", "old").publish(Manifest("model", "old", {}, {}, {"steps": 3}))
    entries = {name: {"stage": "model", "key": name} for name in ("a", "b", "old", "gone")}
    store.run("r").write_json("run.json", {**entries, "shards": {"stage": "shards", "key": "s"}})
    saving = planned(tmp_path, "paper-k8", "run.name=r")["saving"]
    assert saving["measured"] and (saving["save_seconds"], saving["stall_seconds"]) == (40.0, 2.0)
    assert {cloud: notice["fits"] for cloud, notice in saving["notices"].items()} == {
        "aws": True,
        "gce": False,
        "azure": False,
    }
    assert not planned(tmp_path, "paper-k8", "run.name=other")["saving"]["measured"]


def test_simulated_hours_lie_around_those_of_the_formula_and_are_printed(tmp_path: Path) -> None:
    plan = planned(tmp_path, "paper-k8", "planning.simulate=true", "planning.draws=20")
    alone = {row["gpus"]: row["hours_experts"] for row in plan["wall"]}
    for row in plan["spot"]["rows"]:
        assert alone[row["gpus"]] < row["experts"]["hours"]["p50"] < 1.25 * alone[row["gpus"]]
    assert "GPUs on spot" in plan["text"] and "simulated" in plan["text"]
    with pytest.raises(ConfigError, match=r"set training\.gpus_per_expert"):
        planned(tmp_path, "demo", "planning.simulate=true")
