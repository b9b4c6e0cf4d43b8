"""kill -9 in the middle of a stage, then the same command again: the same files as an undisturbed run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.processes import kill_family
from benchmarks.stages import UNTIL_EXPERTS, make
from tests.support.tiny import TINY

pytestmark = [pytest.mark.rare, pytest.mark.timeout(900)]

# What differs between two undisturbed runs too: times, logs, and the attempt that wrote last.
_NOT_COMPARED = {"manifest.json", "metrics.jsonl", "lease.json", "README.md"}
_CUT = ("allocation.strategy=tfidf",)  # a document-level cut, so that allocating is work


def _command(job: str, root: Path) -> list[str]:
    overrides = [f"artifacts.root={root}", *TINY, *_CUT]
    return [sys.executable, "-m", f"jobs.{job}", "--preset", "demo", *(f"--set={item}" for item in overrides)]


def _run(job: str, root: Path) -> None:
    done = subprocess.run(_command(job, root), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _kill_when(job: str, root: Path, reached: Callable[[], bool]) -> bool:
    """Start the job and kill -9 it with all its processes once ``reached``; False if it had ended before."""
    process = subprocess.Popen(_command(job, root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not reached():
            time.sleep(0.005)
        return process.returncode is None
    finally:
        kill_family(process)


def _files(root: Path, stage: str) -> dict[str, bytes]:
    folder = root / "store" / stage
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _NOT_COMPARED and "tensorboard" not in path.parts
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    make([*TINY, *_CUT, f"artifacts.root={root}"], UNTIL_EXPERTS)
    return root


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


def _some(root: Path, pattern: str) -> Callable[[], bool]:
    return lambda: next((root / "store").glob(pattern), None) is not None


# In this order: each stage of the killed run needs the one before.
@pytest.mark.parametrize(
    ("job", "stage", "partials"),
    [
        ("shard", "shards", ["shards/*/*/*/part-*.parquet"]),
        # killed twice: a trained seed tokenizes first
        ("seed", "tokens", ["tokens/*/*/*/part-*.npy", "model/*/step-000000[123][05]/manifest.json"]),
        ("allocate", "allocation", ["allocation/*/documents/*/part-*.parquet"]),
        ("train", "model", ["model/*/step-0000001[05]/manifest.json"]),  # the seed's weights are compared here too
    ],
)
def test_killed_and_run_again_ends_with_the_same_files(
    job: str, stage: str, partials: list[str], undisturbed: Path, killed: Path
) -> None:
    for partial in partials:
        was_running = _kill_when(job, killed, _some(killed, partial))
        assert was_running, f"{job} ended before {partial} was seen; the kill came too late to test anything"
    _run(job, killed)
    expected, found = _files(undisturbed, stage), _files(killed, stage)
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []
