"""Two Ray Train workers train each expert: the models of one worker, to rounding, under the same keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from app.artifacts.layout import FINAL_MODEL
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.models.load import load_model
from app.pipelines.models import expert_tasks
from app.pipelines.train import train_experts
from tests.support.tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.mark.parametrize("parallelism", ["data", "fsdp"])
def test_two_workers_train_the_experts_of_one(tiny_run: tuple[Config, Store], tmp_path: Path, parallelism: str) -> None:
    _, alone = tiny_run
    root = tmp_path / "two"
    shutil.copytree(alone.root, root)
    workers = ("training.workers_per_expert=2", f"training.parallelism={parallelism}")
    config, store = load_config("demo", overrides=[*TINY, f"artifacts.root={root}", *workers]), Store(str(root))
    for task in expert_tasks(config, store):
        shutil.rmtree(task.stage.local())
    made = train_experts(config, store)
    assert len(made) == 2
    for name, stage in made.items():
        before = alone.stage("model", stage.key)
        counts, expected = stage.manifest().counts, before.manifest().counts
        assert (counts["workers"], expected["workers"]) == (2, 1), name
        assert counts["exposure_tokens"] == expected["exposure_tokens"]
        assert float(str(counts["final_loss"])) == pytest.approx(float(str(expected["final_loss"])), rel=1e-3)
        models = [load_model(str(place.local(FINAL_MODEL))) for place in (stage, before)]
        for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-3)
