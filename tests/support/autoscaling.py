"""A head without work of its own whose autoscaler starts and ends nodes on this machine: Ray's own fake of a cloud."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from ray.util import get_node_ip_address

from benchmarks.processes import kill_family

_SECONDS_TO_START = 120


@dataclass(frozen=True)
class FakeCloud:
    """A running head: where it is, and what a driver needs in its environment."""

    address: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def nodes(self) -> list[psutil.Process]:
        """The raylets of the workers, oldest first; those of the fake's nodes hang under the autoscaler."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for monitor in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if "monitor.py" in " ".join(monitor.cmdline()):
                        found += [child for child in monitor.children() if _is_alive(child)]
        return sorted(found, key=lambda raylet: raylet.pid)


def _is_alive(process: psutil.Process) -> bool:
    return process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE


@contextmanager
def fake_cloud(folder: Path, most_nodes: int) -> Iterator[FakeCloud]:
    """A head with 0 CPUs and from 0 to ``most_nodes`` workers of one CPU. folder: short, sockets have long names."""
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        port, unused = one.getsockname()[1], other.getsockname()[1]
    address = f"{get_node_ip_address()}:{port}"
    config = folder / "fake.json"
    config.write_text(json.dumps(_cluster(address, most_nodes)))
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    started = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "0",  # its scheduler never gives the fake's nodes any work
    }
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--head", "--block", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}"]
    command += ["--include-dashboard=false", "--disable-usage-stats", f"--ray-client-server-port={unused}"]
    command += [f"--autoscaling-config={config}", f"--object-store-memory={100 << 20}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**environment, **started}, stdout=log, stderr=log)
    try:
        _wait_until_started(process, folder / "log")
        yield FakeCloud(address, environment, process)
    finally:
        kill_family(process)


def _cluster(address: str, most_nodes: int) -> dict[str, object]:
    """What ``ray up`` would be given; the empty fields are those that its template fills in."""
    provider = {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "gcs_address": address,
    }
    worker = {"resources": {"CPU": 1, "object_store_memory": 100 << 20}, "node_config": {}, "min_workers": 0}
    lists = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
    more = ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")
    return {
        "cluster_name": "fake",
        "max_workers": most_nodes,
        "provider": provider,
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {**worker, "max_workers": most_nodes},
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 20,
        "idle_timeout_minutes": 0.1,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in (*lists, *more, "rsync_filter")},
    }


def _wait_until_started(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while "Ray runtime started" not in log.read_text():
        if time.monotonic() > deadline or process.poll() is not None:
            raise AssertionError(f"the head did not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)
