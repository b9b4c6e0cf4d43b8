"""Several Ray nodes on one machine, to add, to drain and to kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from app.fleet.drain import drain_node
from app.training.notices import Notice

HEALTH_CHECKS = {"health_check_period_ms": 1000, "health_check_timeout_ms": 3000, "health_check_failure_threshold": 5}
"""As the cluster files start their heads: by Ray's own settings a machine that is cut off is missed after a minute."""

_EXIT_SECONDS = 5.0


def with_token(module: str, arguments: Sequence[str] | None) -> None:
    """Start ``python -m module`` again with token authentication on; Ray reads the mode when it is imported."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        os.environ["RAY_AUTH_MODE"] = "token"
        os.execv(sys.executable, [sys.executable, "-m", module, *(sys.argv[1:] if arguments is None else arguments)])


class Raylets:
    """A head without work and some nodes of one CPU."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder, self._count = folder, nodes

    def __enter__(self) -> Raylets:
        from ray.cluster_utils import Cluster

        self._sessions = Path(f"{self._folder}-ray")  # short: sockets have long names
        self._sessions.mkdir()
        head: dict[str, Any] = {
            "num_cpus": 0,
            "memory": 0,
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
        }
        head["_system_config"] = HEALTH_CHECKS
        self._cluster = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": str(self._sessions)})
        self.address = str(self._cluster.address)
        self._nodes: list[Any] = []
        for _ in range(self._count):
            self.add()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()
        _, outliving = psutil.wait_procs(list(_workers_of(self._sessions)), _EXIT_SECONDS)
        for process in outliving:
            process.kill()
        shutil.rmtree(self._sessions, ignore_errors=True)

    def add(self) -> None:
        """One more node, ready when this returns."""
        self._nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=100 << 20, wait=True))

    def kill_host_of(self, pid: int) -> None:
        """kill -9 the raylet that started this process, with all its children, as a machine that is gone."""
        _kill(self._nodes.pop(self._host_of(pid)))

    def kill_newest(self) -> None:
        """The same with the node that was added last."""
        _kill(self._nodes.pop())

    def drain_host_of(self, pid: int, seconds: float) -> None:
        """Give the node on which this process runs notice of so many seconds."""
        node = self._nodes.pop(self._host_of(pid))
        drain_node(self.address, node.node_id, Notice("test", time.time() + seconds, "chaos"))

    def _host_of(self, pid: int) -> int:
        """Number of the node that started a process; the last one if that has just ended."""
        parents: set[int] = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            parents = {parent.pid for parent in psutil.Process(pid).parents()}
        numbers = [number for number, node in enumerate(self._nodes) if _raylet(node).pid in parents]
        return numbers[0] if numbers else len(self._nodes) - 1


def _workers_of(sessions: Path) -> Iterator[psutil.Process]:
    """Ray's workers that log to this folder: one whose node has gone belongs to nobody, and its exit may hang."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_worker = "".join(process.cmdline()[:1]).startswith("ray::")
            if is_worker and any(Path(file.path).is_relative_to(sessions) for file in process.open_files()):
                yield process


def _raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def _kill(node: Any) -> None:
    raylet = _raylet(node)
    for process in [raylet, *raylet.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
