"""The hosts of the cluster rehearsal, without Ray: alone in their network, and gone when they should be."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.hosts import SHARED, missing
from benchmarks.processes import kill_family
from tests.support.needs import need
from tests.support.source import ROOT
from tests.support.two_hosts import SLEEP

pytestmark = pytest.mark.cluster


def start(*more: str) -> subprocess.Popen[str]:
    """See tests/support/two_hosts.py."""
    need("a machine that can be several hosts", not missing(), missing())
    command = [sys.executable, "-m", "tests.support.two_hosts", *more]
    # Tests that run in the background ignore SIGINT, and so would what they start.
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def outside() -> list[str]:
    """What hosts would have left on this machine: interfaces, mounts, files."""
    interfaces = [name for _, name in socket.if_nameindex() if name in ("bridge", "to-one", "to-two")]
    mounts = [line for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines() if "/run/own" in line]
    return [*interfaces, *mounts, *(str(path) for path in (SHARED, Path("/run/own")) if path.exists())]


def sleepers() -> list[int]:
    """What runs on host two, seen from outside."""
    return [process.pid for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == SLEEP.split()]


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What was seen on the hosts, and from outside afterwards."""
    process = start()
    printed, said = process.communicate(timeout=150)
    assert process.returncode == 0, said
    found: dict[str, Any] = json.loads(printed)
    return {**found, "outside": outside(), "sleepers": sleepers()}


def test_hosts_reach_each_other_and_nothing_else(seen: dict[str, Any]) -> None:
    assert seen["names"] == ["one", "two"] and seen["neighbour"] == "reached"
    assert seen["routes"] == ["10.77.0.0/24"] and seen["laptop_can_leave"] is False
    assert seen["interfaces"] == ["bridge", "lo", "to-one", "to-two"]


def test_hosts_share_one_folder_and_have_the_rest_for_themselves(seen: dict[str, Any]) -> None:
    assert seen["shared"] == ["by all"] * 2 and seen["own"] == ["3", "0"]


def test_a_host_that_is_cut_off_is_gone_with_all_its_processes_and_can_be_replaced(seen: dict[str, Any]) -> None:
    assert seen["left_after_cut"] is False and seen["cut"] == ""
    assert seen["running_after_cut"] == ["one"] and seen["replaced"] == "two"


def test_nothing_is_left_and_nothing_outside_was_touched(seen: dict[str, Any]) -> None:
    assert seen["outside"] == [] and seen["sleepers"] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_after_the_command_was_killed(how: signal.Signals) -> None:
    process = start("--stay")
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert sleepers()
        process.send_signal(how)
        process.wait(timeout=30)
        deadline = time.monotonic() + 30
        while sleepers() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sleepers() == [] and outside() == []
    finally:
        kill_family(process)
