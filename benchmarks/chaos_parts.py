"""What the chaos benchmark kills: raylets, the driver, workers, checkpoints, the disk."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from app.core.errors import TrainingError
from app.pipelines.drain import drain_node
from app.training.notices import Notice

EXPERTS = 4
_DISK_MEGABYTES = 400
_SMALL = (
    "run.name=chaos",
    "corpus.languages=de,en,hi,ja",
    "corpus.documents_per_language=80",
    "seed.source=pretrained",
    "allocation.strategy=one_per_language",
    f"allocation.k={EXPERTS}",
    "training.tokens_per_step=4096",
    "training.checkpoint_every_steps=5",
    "training.max_failures=5",
    "training.trackers=tensorboard",
)


class Victim:
    """One expert of a run, by its folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder

    @property
    def is_done(self) -> bool:
        """Whether it is published."""
        return (self._folder / "DONE").exists()

    @property
    def attempt(self) -> str:
        """Who holds the lease."""
        lease = self._lease()
        return str(lease["attempt"]) if lease else ""

    @property
    def host(self) -> str:
        """The machine on which the holder of the lease runs."""
        lease = self._lease()
        return str(lease["host"]) if lease else ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The metrics so far."""
        with contextlib.suppress(OSError):
            lines = (self._folder / "metrics.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines if line.endswith("}")]
        return []

    @property
    def last_row(self) -> dict[str, Any] | None:
        """The newest metrics."""
        rows = self.rows
        return rows[-1] if rows else None

    @property
    def last_step(self) -> int:
        """The newest logged step, 0 before the first."""
        row = self.last_row
        return int(row["step"]) if row else 0

    @property
    def steps_twice(self) -> int:
        """Steps that stand in the metrics more than once."""
        steps = [row["step"] for row in self.rows]
        return len(steps) - len(set(steps))

    @property
    def has_saved(self) -> bool:
        """Whether there is a checkpoint."""
        return self.saved_step > 0

    @property
    def saved_step(self) -> int:
        """Step of its newest checkpoint, 0 before the first."""
        saved = self._folder.glob("step-*/manifest.json")
        return max((int(file.parent.name.removeprefix("step-")) for file in saved), default=0)

    def first_step_after(self, when: float) -> int:
        """The first step logged after a moment."""
        return next((int(row["step"]) for row in self.rows if row["time"] > when + 0.5), self.last_step)

    def kill_worker(self) -> None:
        """kill -9 the process that trains it."""
        lease = self._lease()
        if lease:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(lease["pid"])).kill()

    def tear_newest_checkpoint(self) -> None:
        """Cut its newest checkpoint short, as a crash of the storage would."""
        newest = sorted(self._folder.glob("step-*/model.safetensors"))[-1:]
        for file in newest:
            with contextlib.suppress(OSError):
                os.truncate(file, file.stat().st_size // 2)

    def _lease(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self._folder / "lease.json").read_text())
            return found
        return None


class Run:
    """A run of the small configuration under a folder."""

    def __init__(self, root: Path, budget_tokens: int) -> None:
        self.root = root
        self._settings = [*_SMALL, f"artifacts.root={root}", f"training.budget_tokens={budget_tokens}"]

    def command(self, job: str, *more: str) -> list[str]:
        """The command line of a job."""
        settings = [f"--set={item}" for item in (*self._settings, *more)]
        return [sys.executable, "-m", f"jobs.{job}", "--preset", "demo", *settings]

    def prepare(self) -> None:
        """Everything before training. Raises TrainingError with the job's own words."""
        for job in ("shard", "seed", "tokenize", "allocate"):
            self._do(job)

    def train(self) -> None:
        """Train undisturbed, on a Ray of its own."""
        self._do("train")

    def stop(self) -> None:
        """Ask whatever trains it to save and end."""
        self._do("stop")

    def copy_inputs(self, other: Run) -> None:
        """Take another run's store, but not its trained experts."""
        shutil.copytree(other.root, self.root, dirs_exist_ok=True)
        for model in self.every():
            shutil.rmtree(self.root / "store/model" / self._keys()[model.name], ignore_errors=True)
        (self.root / "runs/chaos/fleet.json").unlink()

    def every(self) -> list[Victim]:
        """The experts."""
        return [Victim(name, self.root / "store/model" / key) for name, key in self._keys().items()]

    models = every

    def running(self) -> list[Victim]:
        """The experts that train and have saved something."""
        return [model for model in self.every() if model.has_saved and not model.is_done]

    def weights(self) -> dict[str, bytes]:
        """Final weights of each finished model, by key."""
        files = sorted((self.root / "store/model").glob("*/final/model.safetensors"))
        return {file.parts[-3]: file.read_bytes() for file in files}

    def _keys(self) -> dict[str, str]:
        place = self.root / "runs/chaos/fleet.json"
        if not place.exists():
            return {}
        return {name: entry["key"] for name, entry in json.loads(place.read_text()).items() if "expert" in name}

    def _do(self, job: str) -> None:
        done = subprocess.run(self.command(job), capture_output=True, text=True, check=False)
        if done.returncode:
            raise TrainingError(f"jobs.{job} failed: {done.stderr[-2000:]}")


class Driver:
    """``jobs.train`` on the cluster, started again as often as it is killed."""

    def __init__(self, run: Run, address: str) -> None:
        self._command = run.command("train", f"cluster.address={address}")
        self._log = run.root.with_suffix(".log").open("a")
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def start(self) -> None:
        """Run the same command (again)."""
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """kill -9 the driver alone; its workers are orphans now."""
        self._process.kill()
        self._process.wait()

    def finish(self) -> int:
        """Wait for its end; the exit status."""
        return self._process.wait(timeout=1800)

    def end(self) -> None:
        """Make sure nothing of it is left."""
        if self.is_running:
            self.kill()
        self._log.close()


class Raylets:
    """A head without work and some nodes of one CPU; what is killed is replaced."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder, self._count = folder, nodes

    def __enter__(self) -> Raylets:
        from ray.cluster_utils import Cluster

        self._sessions = Path(f"{self._folder}-ray")  # short: sockets have long names
        self._sessions.mkdir()
        head = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": str(self._sessions)})
        self.address = str(self._cluster.address)
        self._nodes = [self._add() for _ in range(self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()
        shutil.rmtree(self._sessions, ignore_errors=True)

    def kill_one(self, chance: random.Random) -> None:
        """kill -9 a raylet with all its children, as a machine that is gone; another takes its place."""
        node = self._nodes.pop(chance.randrange(len(self._nodes)))
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._nodes.append(self._add())

    def drain_one(self, chance: random.Random) -> None:
        """Give a node notice of thirty seconds; a replacement comes at once."""
        node = self._nodes.pop(chance.randrange(len(self._nodes)))
        drain_node(self.address, node.node_id, Notice("test", time.time() + 30, "chaos"))
        self._nodes.append(self._add())

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=100 << 20, wait=True)


@contextlib.contextmanager
def limited_disk(root: Path, wanted: bool) -> Iterator[None]:
    """A tmpfs of limited size under ``root`` while this is open, where kinds that need one are asked for."""
    root.mkdir(parents=True)
    if not wanted:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MEGABYTES}m", "tmpfs", str(root)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


def fill_disk(root: Path, seconds: float) -> None:
    """Leave not a byte for some seconds."""
    ballast = root / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * (1 << 20))
        time.sleep(seconds)
    finally:
        ballast.unlink(missing_ok=True)


def storage_away(root: Path, seconds: float) -> None:
    """Put an empty read-only file system over the models for some seconds."""
    place = str(root / "store/model")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], check=True)
    try:
        time.sleep(seconds)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
