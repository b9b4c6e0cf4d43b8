"""A tiny run made by ``jobs.all`` as a user would, with secrets in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.tiny import TINY

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws9f2c1d7e",
    "FSSPEC_S3_SECRET": "fsspec83b1e5d2",
    "HF_TOKEN": "hub5c77a0e914",
    "WANDB_API_KEY": "wandb1b64d9c3",
    "XELM_API_KEYS": "door42e8f6a1",
    "RAY_AUTH_TOKEN": "cluster7d3a90b25c",
}


@dataclass(frozen=True)
class WholeRun:
    """The store, the folder of Ray's files, and what was said."""

    root: Path
    ray: Path
    stdout: bytes
    stderr: bytes


def make_whole_run(folder: Path, ray: Path) -> WholeRun:
    """Make it; its store is ``artifacts`` in ``folder``."""
    root = folder / "artifacts"
    settings = [f"--set={item}" for item in (*TINY, f"artifacts.root={root}")]
    command = [sys.executable, "-m", "jobs.all", "--preset", "demo", *settings]
    environment = {**os.environ, **SECRETS, "RAY_TMPDIR": str(ray)}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return WholeRun(root, ray, done.stdout, done.stderr)
