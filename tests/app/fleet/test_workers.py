"""Several Ray Train workers for one expert: the model of one worker, to rounding, under the same key."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from app.artifacts.layout import FINAL_MODEL
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.lineage.lineage import Lineage
from app.models.load import load_model
from app.pipelines.train import train_experts
from benchmarks.processes import kill_family
from benchmarks.raylets import Raylets
from tests.support.fleets import command, members, steps_saved, wait_for
from tests.support.source import ROOT
from tests.support.tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.mark.parametrize("parallelism", ["data", "fsdp"])
def test_two_workers_train_the_expert_of_one(tiny_run: tuple[Config, Store], tmp_path: Path, parallelism: str) -> None:
    _, alone = tiny_run
    root = tmp_path / "two"
    shutil.copytree(alone.root, root)
    workers = ("training.workers_per_expert=2", f"training.parallelism={parallelism}")
    config, store = load_config("demo", overrides=[*TINY, f"artifacts.root={root}", *workers]), Store(str(root))
    stage = Lineage(config, store).experts[0].stage
    shutil.rmtree(stage.local())
    train_experts(Lineage(config, store))
    before = alone.stage("model", stage.key)
    counts, expected = stage.manifest().counts, before.manifest().counts
    assert (counts["workers"], expected["workers"]) == (2, 1)
    assert counts["exposure_tokens"] == expected["exposure_tokens"]
    assert float(str(counts["final_loss"])) == pytest.approx(float(str(expected["final_loss"])), rel=1e-3)
    models = [load_model(str(place.local(FINAL_MODEL))) for place in (stage, before)]
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.rare
def test_an_expert_goes_on_with_a_second_worker_when_there_is_room_for_it(prepared: Path) -> None:
    # A minute of work: Ray takes up to 20 s to see a new node.
    settings = ("training.budget_tokens=163840", "training.workers_per_expert=1,2", "cluster.slots=1")
    with tempfile.TemporaryDirectory() as short, Raylets(Path(short) / "r", 1) as raylets:
        _, _, _, *arguments = command("train", prepared, *settings, f"cluster.address={raylets.address}")
        process = subprocess.Popen([sys.executable, "-m", "tests.support.paced_train", *arguments], cwd=ROOT)
        try:
            wait_for(lambda: bool(steps_saved(prepared)), process)
            (folder,) = {checkpoint.parent for checkpoint in steps_saved(prepared)}
            raylets.add()
            expert = Store(str(prepared)).stage("model", folder.name)
            wait_for(lambda: expert.is_complete, process)
        finally:
            kill_family(process)
    assert expert.manifest().counts["workers"] == 2
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sum(later["seconds"] < earlier["seconds"] for earlier, later in pairwise(rows)) == 1, "resumed once"
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    (entry,) = [entry for entry in members(prepared).values() if entry["key"] == folder.name]
    assert entry["failures"] == 0
