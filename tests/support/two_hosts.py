"""Two hosts of benchmarks/hosts.py and what is seen on them; run apart by tests/benchmarks/test_hosts.py.

``python -m tests.support.two_hosts`` prints it as JSON; with ``--stay`` it says ``ready`` and waits.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

from benchmarks.hosts import SHARED, Hosts, run_apart

SLEEP = "sleep 7654321"
_INSIDE = "XELM_INSIDE_TWO_HOSTS"
_SSH = ("-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oConnectTimeout=5", "-oLogLevel=ERROR")


def main(stay: bool) -> int:
    """Print what is seen; the exit status."""
    if not os.environ.get(_INSIDE):
        command = [sys.executable, "-m", "tests.support.two_hosts", *sys.argv[1:]]
        return run_apart(command, {**os.environ, _INSIDE: "1"})
    with Hosts(("one", "two")) as hosts:
        _on(hosts, "two", f"setsid -f {SLEEP} < /dev/null > /dev/null 2>&1")
        while SLEEP not in hosts.processes("two"):  # the shell may answer before the program has begun
            time.sleep(0.05)
        if stay:
            print("ready", flush=True)
            time.sleep(600)
        print(json.dumps(_seen(hosts)))
    return 0


def _seen(hosts: Hosts) -> dict[str, Any]:
    (SHARED / "seen").write_text("by all", encoding="utf-8")
    _on(hosts, "one", "touch ~/mine /tmp/mine /dev/shm/mine")
    found: dict[str, Any] = {
        "names": [_on(hosts, name, "hostname") for name in hosts.running],
        "shared": [_on(hosts, name, f"cat {SHARED}/seen") for name in hosts.running],
        "own": [_on(hosts, name, "ls ~/mine /tmp/mine /dev/shm/mine 2> /dev/null | wc -l") for name in hosts.running],
        "neighbour": _on(hosts, "one", f"bash -c '< /dev/tcp/{hosts.addresses['two']}/22' && echo reached"),
        "routes": [line.split()[0] for line in _on(hosts, "one", "ip route").splitlines()],
        "laptop_can_leave": _can_leave(),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
    }
    hosts.cut("two")
    found["running_after_cut"] = hosts.running
    found["left_after_cut"] = subprocess.run(["pgrep", "-fx", SLEEP], check=False).returncode == 0
    found["cut"] = _on(hosts, "two", "hostname")
    hosts.start("two")
    found["replaced"] = _on(hosts, "two", "hostname; ls -A /dev/shm")
    return found


def _on(hosts: Hosts, name: str, command: str) -> str:
    """What a command printed on a host; empty if the host cannot be reached."""
    words = ["ssh", "-i", hosts.key, *_SSH, f"root@{hosts.addresses[name]}", command]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout.strip()


def _can_leave() -> bool:
    """Whether a packet finds a way to an address that documentation is given (RFC 5737) and that no host has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("192.0.2.1", 53)) == 0


if __name__ == "__main__":
    sys.exit(main("--stay" in sys.argv))
