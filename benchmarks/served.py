"""A Ray of its own, reached as a user reaches one: by ``ray start``, and Serve by its config over the dashboard."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

from app.artifacts.ensemble import EnsembleRecord, read_ensemble, write_ensemble
from app.artifacts.layout import RUNS
from app.artifacts.store import Store
from benchmarks.processes import kill_family

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
_LOOK_S = 0.3
_START_S = 240.0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on, outside those that Ray gives to its workers."""
    held, ports = [], []
    for port in range(23000 + os.getpid() % 4000, 32000):
        found = socket.socket()
        with contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            ports.append(port)
        held.append(found)
        if len(ports) == count:
            break
    for found in held:
        found.close()
    return ports


def serve_config(port: int, **args: object) -> dict[str, Any]:
    """``deploy/serve.yaml`` on another port and with these arguments."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy/serve.yaml").read_text(encoding="utf-8"))
    config["http_options"]["port"] = port
    config["applications"][0]["args"] = args
    return config


def two_versions(root: Path, run: str, folder: Path) -> tuple[str, EnsembleRecord]:
    """A store in ``folder`` with the run's current ensemble as version 1, and one that mixes evenly as version 2.

    The stages are those of ``root``, linked. Returns its place and the second record. Raises MissingArtifact.
    """
    record = read_ensemble(Store(str(root)).run(run), "name a finished run")
    store = folder / "two-versions"
    (store / RUNS).mkdir(parents=True)
    for known in root.iterdir():
        if known.name != RUNS:
            (store / known.name).symlink_to(known.resolve())
    place = Store(str(store)).run(run)
    first = write_ensemble(place, replace(record, version=0))
    return str(store), write_ensemble(place, replace(first, version=0, mixing={"name": "uniform"}))


class Served:
    """A head with ``cpus``, and machines beside it; what is deployed on them, by process."""

    def __init__(self, cpus: int, environment: Mapping[str, str] | None = None) -> None:
        self._cpus, self._environment = cpus, environment or {}
        self.dashboard = ""

    def __enter__(self) -> Served:
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        self._folder = Path(tempfile.mkdtemp(prefix="xs-"))  # short: sockets have long names
        gcs, dashboard, agent, client, self.port = free_ports(5)
        self._gcs, self._token = gcs, secrets.token_hex(32)
        self._machines: list[subprocess.Popen[bytes]] = []
        headers, self.dashboard = {"Authorization": f"Bearer {self._token}"}, f"http://127.0.0.1:{dashboard}"
        self.log = self._folder / "log"
        head = ["--head", f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        head += [f"--ray-client-server-port={client}", "--include-dashboard=true", f"--temp-dir={self._folder}"]
        self._process = self._start(head, self._cpus)
        try:
            self._client = self._until(lambda: ServeSubmissionClient(self.dashboard, headers=headers))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._machines, self._process):
            kill_family(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_machine(self, cpus: int) -> None:
        """One more node of this host, ready when this returns."""
        from ray.util import get_node_ip_address

        before = self.nodes()
        agent = f"--dashboard-agent-listen-port={free_ports(1)[0]}"
        self._machines.append(self._start([f"--address={get_node_ip_address()}:{self._gcs}", agent], cpus))
        self._until(lambda: _require(self.nodes() > before, "the machine has not joined"))

    def lose_machine(self) -> list[str]:
        """kill -9 the machine added last with all that runs on it; returns the replicas that were there."""
        process = self._machines.pop()
        there = {member.pid for member in psutil.Process(process.pid).children(recursive=True)}
        held = [
            name for deployment in self.deployments() for name, pid in self.pids(deployment).items() if pid in there
        ]
        kill_family(process)
        return held

    def nodes(self) -> int:
        """Raylets that run."""
        families = [psutil.Process(one.pid).children(recursive=True) for one in (*self._machines, self._process)]
        return sum(member.name() == "raylet" for family in families for member in family)

    def _start(self, more: list[str], cpus: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus}", *more]
        command += [f"--object-store-memory={100 << 20}"]
        own = {**self.environment, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **self._environment}
        with self.log.open("a") as log:
            return subprocess.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=log)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's, with what opens this Ray and its dashboard."""
        return {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}

    def deploy(self, config: Mapping[str, Any]) -> None:
        """As ``serve deploy`` does: returns at once, see ``settle``."""
        self._client.deploy_applications(dict(config))

    def settle(self) -> None:
        """Wait until everything that was deployed runs and nothing else does."""
        self._until(self._require_settled)

    def pids(self, deployment: str) -> dict[str, int]:
        """Replicas that answer -> their processes."""
        replicas = self.deployments().get(deployment, {}).get("replicas", [])
        return {one["replica_id"]: one["pid"] for one in replicas if one["state"] == "RUNNING"}

    def ready_after(self, killed: float, pid: int) -> float:
        """Seconds since ``killed`` (monotonic) until another process than ``pid`` is the ingress and says ready."""

        def ask() -> None:
            _require(bool(self.pids("ingress")) and pid not in self.pids("ingress").values(), "no other ingress yet")
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5).close()

        self._until(ask)
        return time.monotonic() - killed

    def deployments(self) -> dict[str, Any]:
        """Name -> what Serve tells of each."""
        applications = self._client.get_serve_details().get("applications", {})
        return {name: it for app in applications.values() for name, it in app["deployments"].items()}

    def _require_settled(self) -> None:
        found = self._client.get_serve_details()["applications"]
        states = [app["status"] for app in found.values()]
        states += [one["state"] for it in self.deployments().values() for one in it["replicas"]]
        if not states or set(states) != {"RUNNING"}:
            raise OSError(f"not settled: {[(app['status'], app['message']) for app in found.values()]}")

    def _until(self, ask: Callable[[], T]) -> T:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                return ask()
            except Exception as error:  # not there yet: what the client raises then differs from step to step
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{error}\n{self.log.read_text()[-3000:]}") from error
                time.sleep(_LOOK_S)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise OSError(problem)
