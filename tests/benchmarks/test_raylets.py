from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from app.config.schema import ClusterConfig
from app.fleet.ray_session import ray_session
from benchmarks.raylets import Raylets

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


class Worker:
    """A process of Ray's."""

    def pid(self) -> int:
        return os.getpid()


def test_a_worker_that_does_not_see_its_node_end_is_ended_with_the_nodes() -> None:
    with tempfile.TemporaryDirectory() as short:
        with Raylets(Path(short) / "r", 1) as raylets, ray_session(ClusterConfig(address=raylets.address)):
            worker: Any = ray.remote(Worker).remote()
            process = psutil.Process(ray.get(worker.pid.remote()))
            process.suspend()
            psutil.Process(process.ppid()).kill()
        gone, _ = psutil.wait_procs([process], 5)
    assert gone == [process]
