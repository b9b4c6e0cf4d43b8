"""What the chaos benchmark kills: the driver, workers, checkpoints, the disk. Raylets are in ``raylets``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from app.core.errors import TrainingError
from benchmarks.stages import Stage, make

EXPERTS = 4
SAVE_EVERY = 5
"""Steps between two checkpoints."""
_DISK_MEGABYTES = 400
_SMALL = (
    "run.name=chaos",
    "corpus.languages=de,en,hi,ja",
    "corpus.documents_per_language=80",
    "seed.source=pretrained",
    "allocation.strategy=one_per_language",
    f"allocation.k={EXPERTS}",
    "training.tokens_per_step=4096",
    f"training.checkpoint_every_steps={SAVE_EVERY}",
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
    def pid(self) -> int:
        """The process that trains it, or did so last; 0 before the first."""
        lease = self._lease()
        return int(lease["pid"]) if lease else 0

    @property
    def is_loading(self) -> bool:
        """Whether the holder of the lease has logged no step so far."""
        rows, lease = self.rows, self._folder / "lease.json"
        return lease.exists() and (not rows or rows[-1]["time"] < lease.stat().st_mtime)

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
    def last_step(self) -> int:
        """The newest logged step, 0 before the first."""
        rows = self.rows
        return int(rows[-1]["step"]) if rows else 0

    @property
    def paces(self) -> list[float]:
        """Seconds of a step, between neighbouring rows of one attempt."""
        return [
            (after["time"] - before["time"]) / (after["step"] - before["step"])
            for before, after in pairwise(self.rows)
            if after["step"] > before["step"] and after["time"] - after["seconds"] < before["time"]
        ]

    @property
    def steps_twice(self) -> int:
        """Steps that stand in the metrics more than once."""
        steps = [row["step"] for row in self.rows]
        return len(steps) - len(set(steps))

    @property
    def saved_step(self) -> int:
        """Step of its newest checkpoint, 0 before the first."""
        return max(self._saved(), default=0)

    @property
    def saves(self) -> int:
        """How many checkpoints there are."""
        return len(self._saved())

    def next_step_after(self, when: float) -> dict[str, Any] | None:
        """The first row after a moment, of whatever attempt."""
        return next((row for row in self.rows if row["time"] > when), None)

    def loaded_after(self, when: float) -> dict[str, Any] | None:
        """The first row of an attempt that began after a moment."""
        return next((row for row in self.rows if row["time"] - row["seconds"] > when), None)

    def step_kept(self, when: float) -> int:
        """The last logged step from which the first attempt after a moment went on; the last one if there was none."""
        kept = 0
        for row in self.rows:
            if row["time"] - row["seconds"] > when:
                return kept
            kept = int(row["step"])
        return kept

    def kill_worker(self) -> None:
        """kill -9 the process that trains it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self.pid).kill()

    def tear_newest_checkpoint(self) -> None:
        """Cut its newest checkpoint short, as a crash of the storage would."""
        newest = sorted(self._folder.glob("step-*/model.safetensors"))[-1:]
        for file in newest:
            with contextlib.suppress(OSError):
                os.truncate(file, file.stat().st_size // 2)

    def _saved(self) -> list[int]:
        folders = [file.parent for file in self._folder.glob("step-*/manifest.json")]
        return [int(folder.name.removeprefix("step-")) for folder in folders if not folder.suffix]  # none half written

    def _lease(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self._folder / "lease.json").read_text())
            return found
        return None


class Run:
    """A run of the small configuration under a folder."""

    def __init__(self, root: Path, *more: str) -> None:
        self.root = root
        self.settings = [*_SMALL, f"artifacts.root={root}", *more]

    def command(self, job: str, *more: str) -> list[str]:
        """The command line of a job, or of a module by its whole name (``tune.sweep``)."""
        settings = [f"--set={item}" for item in (*self.settings, *more)]
        return [sys.executable, "-m", job if "." in job else f"jobs.{job}", "--preset", "demo", *settings]

    def make(self, stages: Sequence[Stage]) -> None:
        """Make these stages undisturbed, on a Ray of its own."""
        make(self.settings, stages)

    def stop(self) -> None:
        """Ask whatever trains it to save and end."""
        self._do("stop")

    def copy_inputs(self, other: Run) -> None:
        """Take another run's store, but not its trained experts."""
        shutil.copytree(other.root, self.root, dirs_exist_ok=True)
        for _, entry in self._members():
            shutil.rmtree(self._folder(entry), ignore_errors=True)
        (self.root / "runs/chaos/fleet.json").unlink()

    def every(self) -> list[Victim]:
        """The experts."""
        return [Victim(name, self._folder(entry)) for name, entry in self._members()]

    def starting(self) -> list[Victim]:
        """The experts that have a place and no process, or no step of it yet."""
        running = [Victim(name, self._folder(entry)) for name, entry in self._members() if entry["state"] == "running"]
        return [model for model in running if not psutil.pid_exists(model.pid) or model.is_loading]

    def unfinished(self, saves: int = 1) -> list[Victim]:
        """The experts that have so many checkpoints and are not done."""
        return [model for model in self.every() if model.saves >= saves and not model.is_done]

    def training(self, saves: int = 1) -> list[Victim]:
        """Those of them that a process of this machine trains now."""
        return [model for model in self.unfinished(saves) if psutil.pid_exists(model.pid)]

    def weights(self) -> dict[str, bytes]:
        """Final weights of each finished model, by key."""
        files = sorted((self.root / "store/model").glob("*/final/model.safetensors"))
        return {file.parts[-3]: file.read_bytes() for file in files}

    def _members(self) -> list[tuple[str, dict[str, str]]]:
        place = self.root / "runs/chaos/fleet.json"
        entries = json.loads(place.read_text()) if place.exists() else {}
        return [(name, entry) for name, entry in entries.items() if "expert" in name]

    def _folder(self, entry: dict[str, str]) -> Path:
        return self.root / "store/model" / entry["key"]

    def _do(self, job: str) -> None:
        done = subprocess.run(self.command(job), capture_output=True, text=True, check=False)
        if done.returncode:
            raise TrainingError(f"jobs.{job} failed: {done.stderr[-2000:]}")


class Driver:
    """``jobs.train`` on the cluster, started again as often as it is killed."""

    def __init__(self, run: Run, address: str) -> None:
        self._command = run.command("train", f"cluster.address={address}")
        self._log_path = run.root.with_suffix(".log")
        self._log = self._log_path.open("a")
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

    def said(self) -> list[str]:
        """What it has said of failures, oldest first."""
        lines = self._log_path.read_text().splitlines()
        return [line for line in lines if "train:" in line and ("failed" in line or "not trained" in line)]

    def end(self) -> None:
        """Make sure nothing of it is left."""
        if self.is_running:
            self.kill()
        self._log.close()


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
