"""Where the user of a cluster sits: cluster.yaml for machines of one's own; `ray up`, `job submit` and `down` on it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.core.errors import TrainingError
from benchmarks.hosts import ROOT, Hosts, answers

HEAD, WORKERS = "head", ("worker-1", "worker-2")

_CLUSTER = "cluster.yaml"
_PORT = 8265
_DASHBOARD = f"http://127.0.0.1:{_PORT}"
_OBJECT_STORE_BYTES = 100 << 20
_LONGEST_SECONDS = 300.0


@dataclass(frozen=True)
class Ended:
    """How a submitted job ended: ``code`` of its process, ``client_code`` of `ray job submit`, whether it had reached
    Ray, and all that was printed.
    """

    code: int | None
    client_code: int
    reached_ray: bool
    said: str


class Job:
    """A job that `ray job submit` waits for."""

    def __init__(self, name: str, words: Sequence[str], log: Path) -> None:
        self._name, self._log = name, log
        command = [
            "job",
            "submit",
            "--address",
            _DASHBOARD,
            "--submission-id",
            name,
            "--working-dir",
            ".",
            "--",
            *words,
        ]
        with log.open("wb") as file:
            self._client = subprocess.Popen(
                _ray(*command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    @property
    def is_running(self) -> bool:
        """Whether `ray job submit` still waits."""
        return self._client.poll() is None

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> Ended:
        """Wait for its end. Raises TrainingError if that does not come."""
        from ray.job_submission import JobSubmissionClient

        try:
            client_code = self._client.wait(timeout=_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise TrainingError(f"the job {self._name} does not end: {self.said[-3000:]}") from None
        info = JobSubmissionClient(_DASHBOARD).get_job_info(self._name)
        return Ended(info.driver_exit_code, client_code, info.driver_info is not None, self.said)


class Laptop:
    """Follows docs/howto/run-on-a-cluster.md from a folder and a home of its own."""

    def __init__(self, home: Path, hosts: Hosts) -> None:
        self._folder = home / "project"
        for name in ("app", "jobs", "serve", "tune"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, self._folder / ".local/cluster" / name, ignore=ignored)
        token = home / ".ray/auth_token"
        token.parent.mkdir(mode=0o700)
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="utf-8")
        ours = yaml.safe_load((ROOT / _CLUSTER).read_text(encoding="utf-8"))
        theirs = local_cluster(ours, hosts.addresses, hosts.key)
        (self._folder / _CLUSTER).write_text(yaml.safe_dump(theirs), encoding="utf-8")

    def up(self) -> None:
        """Start the head; the head starts the workers. Raises TrainingError with Ray's words."""
        self._do("up")

    def down(self) -> None:
        """Stop Ray everywhere. Raises TrainingError with Ray's words."""
        self._do("down")

    @contextlib.contextmanager
    def dashboard(self) -> Iterator[None]:
        """The tunnel to the head's loopback while this is open."""
        nothing = subprocess.DEVNULL
        command = _ray("dashboard", _CLUSTER)
        tunnel = subprocess.Popen(command, cwd=self._folder, stdin=nothing, stdout=nothing, stderr=nothing)
        try:
            deadline = time.monotonic() + _LONGEST_SECONDS
            while not answers("127.0.0.1", _PORT):
                if tunnel.poll() is not None or time.monotonic() > deadline:
                    raise TrainingError("`ray dashboard` makes no tunnel to the head")
                time.sleep(0.2)
            yield
        finally:
            tunnel.kill()
            tunnel.wait()

    def submit(self, name: str, command: Sequence[str]) -> Job:
        """`ray job submit` of a command line of this machine, run by the Python of the head."""
        return Job(name, ["python", *command[1:]], self._folder / f"{name}.log")

    def _do(self, verb: str) -> None:
        command = _ray(verb, "-y", _CLUSTER)
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise TrainingError(f"`ray {verb}` failed: {done.stdout[-3000:]}{done.stderr[-3000:]}")


def local_cluster(ours: Mapping[str, Any], addresses: Mapping[str, str], key: str) -> dict[str, Any]:
    """cluster.yaml for machines of one's own: the same mounts and commands, one CPU each, nothing to install.

    What belongs to a cloud stays out: instances, and the watcher for a spot notice.
    """
    (path,) = [command for command in ours["setup_commands"] if ".bashrc" in command]
    start = f"ray start --object-store-memory={_OBJECT_STORE_BYTES} "
    workers = [c for c in ours["worker_start_ray_commands"] if "watch_spot" not in c]
    return {
        **{name: ours[name] for name in ("cluster_name", "idle_timeout_minutes", "file_mounts", "head_setup_commands")},
        "provider": {
            "type": "local",
            "head_ip": addresses[HEAD],
            "worker_ips": [addresses[name] for name in WORKERS],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": key},
        "setup_commands": [f"ln -sfn {sys.prefix} ~/venv", path],
        "head_start_ray_commands": [c.replace("ray start ", start) for c in ours["head_start_ray_commands"]],
        "worker_start_ray_commands": [c.replace("ray start ", f"{start}--num-cpus=1 ") for c in workers],
    }


def _ray(*words: str) -> list[str]:
    return [sys.executable, "-m", "ray.scripts.scripts", *words]
