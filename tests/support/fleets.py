"""A small run whose experts train for seconds, by the jobs themselves; for tests that disturb it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.tiny import TINY

LONG = (
    "training.budget_tokens=1800000",  # an expert trains for some six seconds on an idle core: time to be stopped twice
    "training.checkpoint_every_steps=10",
    "evaluation.max_documents_per_language=4",
)


def command(job: str, root: Path, *more: str) -> list[str]:
    """The command line of a job."""
    overrides = [f"artifacts.root={root}", *TINY, *LONG, *more]
    return [sys.executable, "-m", f"jobs.{job}", "--preset", "demo", *(f"--set={item}" for item in overrides)]


def run(job: str, root: Path, *more: str) -> None:
    """Run a job that must succeed."""
    done = subprocess.run(command(job, root, *more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def members(root: Path) -> dict[str, dict[str, object]]:
    """Name -> entry of ``fleet.json``."""
    found: dict[str, dict[str, object]] = json.loads((root / "runs/tiny/fleet.json").read_text())
    return found


def weights(root: Path) -> dict[str, bytes]:
    """Key -> final weights of every model."""
    files = sorted((root / "store/model").glob("*/final/model.safetensors"))
    return {file.parts[-3]: file.read_bytes() for file in files}


def steps_saved(root: Path) -> set[Path]:
    """The checkpoints that there are."""
    return {file.parent for file in (root / "store/model").glob("*/step-*/manifest.json")}


def holder(model: Path) -> tuple[str, int]:
    """Who trains a model: the attempt, and the process id of the raylet that it runs under."""
    lease = json.loads((model / "lease.json").read_text())
    return lease["attempt"], psutil.Process(lease["pid"]).ppid()


def without_experts(root: Path, other: Path) -> Path:
    """A copy of a finished run as ``other`` that has its experts still to train."""
    subprocess.run(["cp", "-r", str(root), str(other)], check=True)
    for name, entry in members(other).items():
        if name != "seed":
            subprocess.run(["rm", "-rf", str(other / "store/model" / str(entry["key"]))], check=True)
    return other


def _said(process: subprocess.Popen[bytes]) -> str:
    """The end of what a process that has ended said on its standard error, where that is kept."""
    return process.stderr.read().decode(errors="replace")[-2000:] if process.stderr else ""


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Return once ``reached``; fail if the process ends or the time is over before."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, f"the job ended before what was waited for: {_said(process)}"
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)
