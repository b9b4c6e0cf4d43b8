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
from benchmarks.serving_answers import Tally
from benchmarks.serving_load import drawn_prompts, ingress_killed, is_free, memory_of, slots_taken
from tests.support.played_server import answering


def test_memory_is_that_of_the_second_and_the_last_quarter() -> None:
    samples = [(float(at), at * 1_000_000) for at in range(1, 9)]
    assert memory_of(samples) == {"warm": 3.5, "end": 7.5}
    assert memory_of([]) == {}


def test_prompts_are_the_same_for_a_seed_and_hold_no_special_token_but_the_first() -> None:
    found = drawn_prompts(20, 50, 3)
    assert found == drawn_prompts(20, 50, 3)
    assert all(ids[0] == 0 and 2 <= len(ids) <= 40 and min(ids[1:]) >= 4 for ids in found)


def test_slots_are_summed_over_replicas_and_a_server_that_is_gone_says_nothing() -> None:
    said = [
        "# TYPE xelm_texts_running gauge",
        'xelm_texts_running{replica="a"} 3.0',
        'xelm_texts_running{replica="b"} 2.0',
        "# TYPE xelm_requests_answering gauge",
        "xelm_requests_answering 9.0",
    ]
    with answering("\n".join(said) + "\n") as port:
        assert slots_taken(port) == {"xelm_texts_running": 5.0}
    assert slots_taken(port) == {}


def test_slots_are_free_only_if_every_gauge_says_so() -> None:
    free = {"xelm_texts_running": 0.0, "xelm_texts_waiting": 0.0, "xelm_cache_use": 0.0}
    assert is_free(free)
    assert not any(is_free({**free, gauge: 0.5}) for gauge in free)
    assert not is_free({}) and not is_free({"xelm_texts_running": 0.0})


def test_the_ingress_is_killed_among_requests_and_what_failed_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_load, "_KILLED_INGRESS_S", 0.4)
    ingress = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    async def run(_count: int, _seconds: float, _seed: int) -> Tally:
        await asyncio.to_thread(ingress.wait, 30)
        return Tally(Counter(right=5), failed=["whole: ReadError: gone", "leaves: ReadError: gone", "503: no replica"])

    clients: Any = SimpleNamespace(run=run)
    served: Any = SimpleNamespace(pids=lambda _name: {"one": ingress.pid}, ready_after=lambda _killed, _pid: 2.04)
    found = asyncio.run(ingress_killed(served, clients, 2, 0))
    assert ingress.returncode == -signal.SIGKILL
    assert found["answers"] == {"right": 5}
    assert (found["failed"], found["failures"]) == (3, ["ReadError: gone", "no replica"])
    assert found["ready_again_s"] == 2.0
