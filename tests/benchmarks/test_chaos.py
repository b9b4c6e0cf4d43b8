"""The chaos benchmark, small: it really starts three raylets, kills things, and compares the weights."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.rare, pytest.mark.timeout(900)]


def test_a_killed_worker_and_a_killed_driver_change_no_bit() -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--kills", "2", "--kinds", "worker,driver", "--seed", "1"]
    done = subprocess.run(
        [*command, "--tokens-per-kill", "700000", "--format", "json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    assert record["weights_equal"] is True and record["experts"] == record["experts_finished"] == 4
    assert record["kills"] == 2 and record["by_kind"] == {"worker": 1, "driver": 1}
    assert record["steps_written_twice"] == 0
    assert {kill["kind"] for kill in record["each"]} == {"worker", "driver"}
    assert all(kill["seconds_to_next_step"] > 0 for kill in record["each"])
    assert record["makespan_seconds"] > record["parameters"]["start_seconds"] > 0
    assert record["parameters"]["step_seconds"] > 0 and set(record["steps"].values()) != {0}
