"""A fleet on a cluster that starts with no worker: nodes come for it, one is lost, the others go when it has ended."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from benchmarks.processes import kill_family
from tests.support.autoscaling import fake_cloud
from tests.support.fleets import command, holder, members, steps_saved, wait_for, weights

pytestmark = [pytest.mark.rare, pytest.mark.timeout(900)]


def test_nodes_come_for_the_fleet_one_may_be_lost_and_all_go_afterwards(undisturbed: Path, prepared: Path) -> None:
    with tempfile.TemporaryDirectory() as short, fake_cloud(Path(short), most_nodes=3) as cloud:
        assert cloud.nodes() == []
        train = command("train", prepared, f"cluster.address={cloud.address}", "training.max_failures=5")
        process = subprocess.Popen(train, env=cloud.environment, stderr=subprocess.PIPE)
        most = set[int]()

        def saved_on_two_nodes() -> bool:
            most.update(node.pid for node in cloud.nodes())
            return len(most) >= 2 and bool(steps_saved(prepared))

        try:
            wait_for(saved_on_two_nodes, process, seconds=240)
            saved = next((prepared / "store/model").glob("*/step-*/manifest.json")).parents[1]
            lost = psutil.Process(holder(saved)[1])
            for member in [lost, *lost.children(recursive=True)]:
                member.kill()
            _, said = process.communicate(timeout=400)
        finally:
            kill_family(process)
        assert process.returncode == 0, said[-3000:]
        wait_for(lambda: cloud.nodes() == [], cloud.process, seconds=120)
    assert weights(prepared) == weights(undisturbed)
    assert {name: entry["state"] for name, entry in members(prepared).items() if name != "seed"} == {
        "expert-00": "done",
        "expert-01": "done",
    }
