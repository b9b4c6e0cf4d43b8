"""A node that is drained: the expert on it saves at the notice and goes on elsewhere, uncharged."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos_parts import Victim
from benchmarks.processes import kill_family
from benchmarks.raylets import Raylets
from tests.support.fleets import command, holder, members, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

# Nothing is saved but at the notice, and there is work for longer than Ray takes to pass the notice on.
SETTINGS = ("training.budget_tokens=6000000", "training.checkpoint_every_steps=1000000")
STEPS_BEFORE = 20


def rows(model: Path) -> list[dict[str, Any]]:
    """The whole rows of a model's metrics."""
    file = model / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def last_step(model: Path) -> int:
    """The newest logged step, 0 before the first."""
    logged = rows(model)
    return int(logged[-1]["step"]) if logged else 0


def experts_of(process: subprocess.Popen[bytes], root: Path) -> dict[str, str]:
    """Name -> key of the experts that a driver has just begun with."""
    finished = members(root)
    wait_for(lambda: members(root) != finished, process)
    return {name: str(entry["key"]) for name, entry in members(root).items() if name != "seed"}


def test_the_expert_of_a_drained_node_saves_is_not_charged_and_goes_on_elsewhere(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    with tempfile.TemporaryDirectory() as short, Raylets(Path(short) / "r", 2) as raylets:
        settings = (*SETTINGS, f"cluster.address={raylets.address}")
        process = subprocess.Popen(command("train", prepared, *settings), stderr=subprocess.PIPE, env=dict(os.environ))
        try:
            models = prepared / "store/model"
            keys = experts_of(process, prepared)
            wait_for(lambda: all(last_step(models / key) > STEPS_BEFORE for key in keys.values()), process)
            before = {name: holder(models / key) for name, key in keys.items()}
            name = min(keys)
            victim = Victim(name, models / keys[name])
            leaving = victim.pid
            raylets.drain_host_of(leaving, seconds=30.0)
            raylets.add()
            wait_for(lambda: victim.pid != leaving, process)
            assert holder(models / keys[name])[1] != before[name][1]
            _, said = process.communicate(timeout=600)
        finally:
            kill_family(process)
    assert process.returncode == 0, said[-3000:]
    after = members(prepared)
    assert {key: (after[key]["preemptions"], after[key]["failures"]) for key in keys} == {
        key: (int(key == name), 0) for key in keys
    }
    logged = rows(models / keys[name])
    begun = [(row["step"], row["time"] - row["seconds"], row["time"]) for row in logged]
    resumed = [step for (_, _, written), (step, start, _) in pairwise(begun) if start >= written]
    assert len(resumed) == 1 and resumed[0] > STEPS_BEFORE
    assert [row["step"] for row in logged] == sorted({row["step"] for row in logged})
