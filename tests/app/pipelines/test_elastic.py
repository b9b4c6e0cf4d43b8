"""What may happen to a fleet while it trains: it ends with the weights of an undisturbed run all the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.pipelines.control import request_stop
from tests.support.processes import kill_family
from tests.support.stages import UNTIL_EXPERTS, make
from tests.support.tiny import TINY

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LONG = (
    "training.budget_tokens=600000",
    "training.checkpoint_every_steps=10",
    "evaluation.max_documents_per_language=4",
)


def command(job: str, root: Path, *more: str) -> list[str]:
    overrides = [f"artifacts.root={root}", *TINY, *LONG, *more]
    return [sys.executable, "-m", f"jobs.{job}", "--preset", "demo", *(f"--set={item}" for item in overrides)]


def loaded(root: Path) -> tuple[Config, Store]:
    return load_config("demo", overrides=[*TINY, *LONG, f"artifacts.root={root}"]), Store(str(root))


def run(job: str, root: Path) -> None:
    done = subprocess.run(command(job, root), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def experts(root: Path) -> dict[str, dict[str, object]]:
    """Name -> entry of ``fleet.json``."""
    found: dict[str, dict[str, object]] = json.loads((root / "runs/tiny/fleet.json").read_text())
    return found


def weights(root: Path) -> dict[str, bytes]:
    """Key -> final weights of every model but the seed."""
    files = sorted((root / "store/model").glob("*/final/model.safetensors"))
    return {file.parts[-3]: file.read_bytes() for file in files}


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Return once ``reached``; fail if the process ends or the time is over before."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, "the job ended before what was waited for"
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    make(root, [*TINY, *LONG], UNTIL_EXPERTS)
    return root


@pytest.fixture
def prepared(undisturbed: Path, tmp_path: Path) -> Path:
    """The undisturbed run without its experts."""
    root = tmp_path / "disturbed"
    subprocess.run(["cp", "-r", str(undisturbed), str(root)], check=True)
    for name, entry in experts(root).items():
        if name != "seed":
            subprocess.run(["rm", "-rf", str(root / "store/model" / str(entry["key"]))], check=True)
    return root


def steps_saved(root: Path) -> int:
    return len(list((root / "store/model").glob("*/step-*/manifest.json")))


@pytest.mark.parametrize("how", ["jobs.stop", "SIGTERM"])
def test_a_stop_saves_ends_with_status_75_and_the_same_command_goes_on(
    how: str, undisturbed: Path, prepared: Path
) -> None:
    process = subprocess.Popen(command("train", prepared), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: steps_saved(prepared) > 0, process)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            request_stop(*loaded(prepared))
        _, stderr = process.communicate(timeout=120)
    finally:
        kill_family(process)
    assert process.returncode == 75, stderr[-2000:]
    assert b"stopped as asked, everything is saved" in stderr and b"Traceback" not in stderr
    assert weights(prepared) != weights(undisturbed)
    run("train", prepared)
    assert weights(prepared) == weights(undisturbed)
    assert all(entry["failures"] == 0 for entry in experts(prepared).values())


def test_a_killed_worker_costs_a_restart_and_changes_nothing(undisturbed: Path, prepared: Path) -> None:
    process = subprocess.Popen(command("train", prepared), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: steps_saved(prepared) > 0, process)
        lease = next(
            path for path in (prepared / "store/model").glob("*/lease.json") if any(path.parent.glob("step-*"))
        )
        psutil.Process(json.loads(lease.read_text())["pid"]).kill()
        assert process.wait(timeout=300) == 0
    finally:
        kill_family(process)
    assert weights(prepared) == weights(undisturbed)
    for metrics in (prepared / "store/model").glob("*/metrics.jsonl"):
        steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
        assert steps == sorted(set(steps)), "a step was written twice"
