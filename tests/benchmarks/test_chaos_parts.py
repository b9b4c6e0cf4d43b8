from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.chaos_parts import Victim


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    """Steps 5 and 8 of an attempt loaded at 100, killed at 103; loaded again at 110, logged at steps 10 and 14."""
    logged = [(5, 101.0, 1.0), (8, 102.0, 2.0), (10, 110.5, 0.5), (14, 111.5, 1.5)]
    rows = [json.dumps({"step": step, "time": time, "seconds": seconds}) for step, time, seconds in logged]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{row}\n" for row in rows) + '{"step": 15, "ti')
    return Victim("expert-00", tmp_path)


def test_the_next_step_after_a_kill_is_the_first_of_an_attempt_that_was_loaded_after_it(victim: Victim) -> None:
    assert [victim.loaded_after(when) for when in (101.5, 103.0)] == [victim.rows[2]] * 2
    assert victim.next_step_after(101.5) == victim.rows[1], "also of the attempt that goes on"
    assert victim.loaded_after(111.0) is None and victim.next_step_after(112.0) is None


def test_what_a_kill_throws_back_to_is_the_last_step_that_was_kept(victim: Victim) -> None:
    assert victim.step_kept(103.0) == 8
    assert victim.step_kept(111.0) == 14, "nobody was thrown back after that"
    assert victim.last_step == 14, "the torn line does not count"


def test_an_expert_is_loading_until_the_holder_of_its_lease_has_logged_a_step(victim: Victim, tmp_path: Path) -> None:
    assert not victim.is_loading
    lease = tmp_path / "lease.json"
    lease.write_text("{}")
    found = []
    for taken in (109.0, 111.4, 111.6):
        os.utime(lease, (taken, taken))
        found.append(victim.is_loading)
    assert found == [False, False, True]


def test_a_step_that_stands_twice_is_counted(victim: Victim, tmp_path: Path) -> None:
    assert victim.steps_twice == 0
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 14, "time": 112.0, "seconds": 2.0}\n')
    assert victim.steps_twice == 1


def test_an_expert_that_nobody_has_begun_has_no_process_and_no_step(tmp_path: Path) -> None:
    nobody = Victim("expert-01", tmp_path / "missing")
    assert (nobody.pid, nobody.last_step, nobody.rows, nobody.saves) == (0, 0, [], 0)
