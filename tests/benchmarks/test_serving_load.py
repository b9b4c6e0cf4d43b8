"""What the figures of a load are made of."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import serving_load
from benchmarks.serving_clients import Tally
from benchmarks.serving_load import drawn_prompts, ingress_killed, memory_of, seen


def test_memory_is_that_of_the_second_and_the_last_quarter() -> None:
    samples = [(float(at), at * 1_000_000) for at in range(1, 9)]
    assert memory_of(samples) == {"warm": 3.5, "end": 7.5}
    assert memory_of([]) == {}


def test_prompts_are_the_same_for_a_seed_and_hold_no_special_token_but_the_first() -> None:
    found = drawn_prompts(20, 50, 3)
    assert found == drawn_prompts(20, 50, 3)
    assert all(ids[0] == 0 and 2 <= len(ids) <= 40 and min(ids[1:]) >= 4 for ids in found)


def test_times_are_quantiles_and_statuses_are_counted() -> None:
    tally = Tally(statuses=Counter({200: 3, 429: 1}), first=[0.1, 0.2, 0.3])
    found = seen(tally)
    assert found["statuses"] == {"200": 3, "429": 1}
    assert found["first_token_s"] == {"p50": 0.2, "p99": 0.298}
    assert "between_chunks_s" not in found


def test_the_ingress_is_killed_among_requests_and_what_failed_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_load, "_KILLED_INGRESS_S", 0.4)
    ingress = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    tally = Tally(answers=Counter(right=3))

    async def run(_count: int, _until: float, _seed: int) -> None:
        await asyncio.to_thread(ingress.wait, 30)
        tally.failed += ["whole: ReadError: gone", "leaves: ReadError: gone", "503: no replica"]
        tally.answers["right"] += 2

    clients: Any = SimpleNamespace(run=run, tally=tally)
    served: Any = SimpleNamespace(pids=lambda _name: {"one": ingress.pid}, ready_after=lambda _killed, _pid: 2.04)
    found = asyncio.run(ingress_killed(served, clients, 2, 0))
    assert ingress.returncode == -signal.SIGKILL
    assert (found["answers_before"], found["answers"]) == (3, {"right": 5})
    assert (found["failed"], found["failures"]) == (3, ["ReadError: gone", "no replica"])
    assert found["ready_again_s"] == 2.0
