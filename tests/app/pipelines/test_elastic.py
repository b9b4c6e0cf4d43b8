"""What may happen to a fleet while it trains: it ends with the weights of an undisturbed run all the same."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.pipelines.control import request_stop
from tests.support.fleets import LONG, command, members, run, steps_saved, wait_for, weights
from tests.support.processes import kill_family
from tests.support.tiny import TINY

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def loaded(root: Path) -> tuple[Config, Store]:
    return load_config("demo", overrides=[*TINY, *LONG, f"artifacts.root={root}"]), Store(str(root))


@pytest.mark.parametrize("how", ["jobs.stop", "SIGTERM"])
def test_a_stop_saves_ends_with_status_75_and_the_same_command_goes_on(
    how: str, undisturbed: Path, prepared: Path
) -> None:
    process = subprocess.Popen(command("train", prepared), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: steps_saved(prepared) > 0, process)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            request_stop(*loaded(prepared))
        _, stderr = process.communicate(timeout=120)
    finally:
        kill_family(process)
    assert process.returncode == 75, stderr[-2000:]
    assert b"stopped as asked, everything is saved" in stderr and b"Traceback" not in stderr
    assert weights(prepared) != weights(undisturbed)
    run("train", prepared)
    assert weights(prepared) == weights(undisturbed)
    assert all(entry["failures"] == 0 for entry in members(prepared).values())


def test_a_killed_worker_costs_a_restart_and_changes_nothing(undisturbed: Path, prepared: Path) -> None:
    process = subprocess.Popen(command("train", prepared), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: steps_saved(prepared) > 0, process)
        lease = next(
            path for path in (prepared / "store/model").glob("*/lease.json") if any(path.parent.glob("step-*"))
        )
        psutil.Process(json.loads(lease.read_text())["pid"]).kill()
        assert process.wait(timeout=300) == 0
    finally:
        kill_family(process)
    assert weights(prepared) == weights(undisturbed)
    for metrics in (prepared / "store/model").glob("*/metrics.jsonl"):
        steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
        assert steps == sorted(set(steps)), "a step was written twice"
