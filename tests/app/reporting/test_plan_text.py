from __future__ import annotations

from pathlib import Path

from app.artifacts.store import Store
from app.config.load import load_config
from app.planning.plan import make_plan
from app.reporting.plan_text import plan_text


def text(root: Path, preset: str, *overrides: str) -> str:
    return plan_text(make_plan(load_config(preset, overrides=overrides), Store(str(root))))


def test_models_that_are_alike_share_a_line_and_nothing_is_wider_than_a_page(tmp_path: Path) -> None:
    printed = text(tmp_path, "paper-k8")
    models = printed.split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in models] == [
        "model",
        "dense",
        "expert-00 and 7 like it, each",
        "together",
    ]
    assert max(map(len, printed.splitlines())) <= 120


def test_a_dense_model_of_fewer_steps_has_a_line_of_its_own(tmp_path: Path) -> None:
    models = text(tmp_path, "demo", "baselines.dense_fewer.equal_steps=true").split("\n\n")[1].splitlines()
    lines = {line.split("  ")[0]: line.split() for line in models}
    dense, fewer = lines["dense"], lines["dense_fewer"]
    assert dense[1] == fewer[1] and int(dense[2]) == 4 * int(fewer[2])


def test_parts_of_unequal_size_have_a_line_each(tmp_path: Path) -> None:
    printed = text(tmp_path, "demo", "allocation.k=3")
    assert "expert-00" in printed and printed.count("expert-0") >= 2


def test_a_model_too_large_for_the_gpu_is_said_aloud(tmp_path: Path) -> None:
    assert "DOES NOT FIT" in text(tmp_path, "paper-k8", "planning.gpu=A10G")
    assert "DOES NOT FIT" not in text(tmp_path, "paper-k8", "planning.gpu=H100")
    cut = ("training.workers_per_expert=[2,2]", "training.parallelism=fsdp")
    assert "in each of 2 workers, beside" in text(tmp_path, "paper-k8", "planning.gpu=L40S", *cut)


def test_the_users_prices_are_named_as_theirs(tmp_path: Path) -> None:
    printed = text(tmp_path, "paper-k4", "planning.prices=our contract of May", "planning.currency=EUR")
    assert "our contract of May" in printed and "EUR spot" in printed and "USD" not in printed


def test_the_best_interval_is_named_in_steps_beside_the_configs(tmp_path: Path) -> None:
    printed = " ".join(text(tmp_path, "paper-k8").split())
    assert "training.checkpoint_every_steps=22" in printed and "the config's 100 steps" in printed
