"""What may happen to a fleet while it trains: it ends with the weights of an undisturbed run all the same."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.fleet.control import request_stop
from benchmarks.processes import kill_family
from tests.support.fleets import LONG, command, members, run, steps_saved, wait_for, weights
from tests.support.tiny import TINY

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def loaded(root: Path) -> tuple[Config, Store]:
    return load_config("demo", overrides=[*TINY, *LONG, f"artifacts.root={root}"]), Store(str(root))


def stopped(root: Path, how: str) -> None:
    """Start the training and stop it once it has saved something new."""
    before = steps_saved(root)
    process = subprocess.Popen(command("train", root), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: bool(steps_saved(root) - before), process)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            request_stop(*loaded(root))
        _, stderr = process.communicate(timeout=120)
    finally:
        kill_family(process)
    assert process.returncode == 75, stderr[-2000:]
    assert b"stopped as asked, everything is saved" in stderr and b"Traceback" not in stderr


def test_a_stop_saves_and_ends_with_status_75_and_the_same_command_goes_on(undisturbed: Path, prepared: Path) -> None:
    for how in ("jobs.stop", "SIGTERM"):
        stopped(prepared, how)
        assert weights(prepared) != weights(undisturbed)
    run("train", prepared)
    assert weights(prepared) == weights(undisturbed)
    assert all(entry["failures"] == 0 for entry in members(prepared).values())
