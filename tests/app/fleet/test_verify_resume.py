from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.fleet.verify_resume import compare
from benchmarks.stages import UNTIL_TRAINING, make
from tests.support.tiny import TINY


def model(store: Store, key: str, weights: bytes, losses: list[float]) -> None:
    stage = store.stage("model", key)
    stage.write("final/model.safetensors", weights)
    rows = [f'{{"step": {step}, "loss": {loss}}}\n' for step, loss in enumerate(losses, 1)]
    stage.write("metrics.jsonl", "".join(rows).encode())


def test_only_equal_bytes_and_equal_losses_are_equal(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    model(store, "a", b"w", [3.0, 2.0])
    model(store, "same", b"w", [3.0, 2.0, 1.0])
    model(store, "other-weights", b"v", [3.0, 2.0])
    model(store, "other-loss", b"w", [3.0, 2.0000001])
    first = store.stage("model", "a")
    assert compare(first, store.stage("model", "same")) == {
        "weights_equal": True,
        "losses_equal": True,
        "losses_compared": 2,
    }
    assert compare(first, store.stage("model", "other-weights"))["weights_equal"] is False
    assert compare(first, store.stage("model", "other-loss"))["losses_equal"] is False


@pytest.mark.rare
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_configuration_proves_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    overrides = [
        *TINY,
        f"artifacts.root={tmp_path}",
        "training.budget_tokens=2000000",
        "training.tokens_per_step=16384",
    ]
    settings = [f"--set={item}" for item in overrides]

    def job(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"jobs.{name}", "--preset", "demo", *settings, *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = job("verify_resume")
    assert missing.returncode == 1 and "python -m jobs.shard" in missing.stderr and "Traceback" not in missing.stderr
    make(overrides, UNTIL_TRAINING)
    before = sorted((tmp_path / "store/model").iterdir())
    done = job("verify_resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "final weights and losses are equal, bit for bit" in done.stdout
    together = job("verify_resume", "--set=training.workers_per_expert=2")
    assert together.returncode == 0, together.stderr[-3000:]
    assert "by 2 workers: killed" in together.stdout and "are equal, bit for bit" in together.stdout
    assert sorted((tmp_path / "store/model").iterdir()) == before
