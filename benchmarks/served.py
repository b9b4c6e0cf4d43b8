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
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

from app.artifacts.ensemble import EnsembleRecord, read_ensemble, write_ensemble
from app.artifacts.layout import RUNS
from app.artifacts.store import Store

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
    """A head with ``cpus``; what is deployed on it, by process."""

    def __init__(self, cpus: int, environment: Mapping[str, str] | None = None) -> None:
        self._cpus, self._environment = cpus, environment or {}

    def __enter__(self) -> Served:
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        self._folder = Path(tempfile.mkdtemp(prefix="xs-"))  # short: sockets have long names
        gcs, dashboard, agent, client, self.port = free_ports(5)
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
        ]
        command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--ray-client-server-port={client}", f"--num-cpus={self._cpus}", "--include-dashboard=true"]
        command += [f"--temp-dir={self._folder}", f"--object-store-memory={100 << 20}"]
        own = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **self._environment}
        token = secrets.token_hex(32)
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        headers = {"Authorization": f"Bearer {token}"}
        self.log = self._folder / "log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own}, stdout=log, stderr=log)
        try:
            self._client = self._until(lambda: ServeSubmissionClient(f"http://127.0.0.1:{dashboard}", headers=headers))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        family = [psutil.Process(self._process.pid)] if self._process.poll() is None else []
        family += family[0].children(recursive=True) if family else []
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

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
