from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app.config.load import load_config
from app.doctor.examine import seed_needs
from app.doctor.facts import Needs
from app.lineage.inputs import seed_location
from app.models.load import load_model
from benchmarks.raylets import Raylets
from jobs.doctor import main

NAMES = {"versions", "auth", "ports", "storage", "disk", "gpus", "clock", "resources"}
OF_THE_DRIVER_ALONE = {"cut", "space"}


def test_a_seed_takes_twelve_bytes_a_parameter_in_a_checkpoint_and_sixteen_in_training() -> None:
    pretrained, trained = load_config("demo"), load_config("demo", overrides=["seed.source=trained"])
    model = load_model(seed_location(pretrained.seed.model))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert seed_needs(pretrained) == Needs(12 * parameters, 16 * parameters)
    # by hand, for V = 2048, d = 64, f = 256: embedding; per layer q, k, v, out, two norms, two linear maps; last norm
    layer = 4 * (64 * 64 + 64) + 4 * 64 + (64 * 256 + 256) + (256 * 64 + 64)
    parameters = 2048 * 64 + 2 * layer + 2 * 64
    assert seed_needs(trained) == Needs(12 * parameters, 16 * parameters)


def test_a_seed_of_which_nothing_is_known_but_its_id_has_no_size() -> None:
    assert seed_needs(load_config("demo", overrides=["seed.model=someone/unpublished"])) is None


def test_a_cluster_that_cannot_be_reached_is_a_line_of_the_table_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("cluster.address=127.0.0.1:9", f"artifacts.root={tmp_path}")
    assert main(["--preset", "demo", *(f"--set={item}" for item in settings)]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert "cannot be joined" in printed.out and "ok      storage  driver" in printed.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_the_machine_itself_is_examined_before_anything_was_run_and_keeps_nothing(
    ray_running: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ray_running is None
    root = tmp_path / "new"
    status = main(["--preset", "demo", "--format", "json", "--set", f"artifacts.root={root}"])
    result = json.loads(capsys.readouterr().out)
    states = {(check["name"], check["state"]) for check in result["checks"]}
    assert status == 0 and result["ok"] is True and {name for name, _ in states} == NAMES | OF_THE_DRIVER_ALONE
    assert {state for name, state in states if name != "disk"} == {"ok"}
    assert list(root.iterdir()) == []


@pytest.mark.cluster
def test_every_node_of_a_running_cluster_is_examined_and_what_fits_nowhere_fails(tmp_path: Path) -> None:
    settings = (f"artifacts.root={tmp_path / 'root'}", "training.gpus_per_expert=1")
    with tempfile.TemporaryDirectory() as short, Raylets(Path(short) / "r", 2) as raylets:
        command = [sys.executable, "-m", "jobs.doctor", "--preset", "demo", "--format", "json"]
        command += [f"--set={item}" for item in (*settings, f"cluster.address={raylets.address}")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    checks = json.loads(done.stdout)["checks"]
    nodes = {check["where"] for check in checks if check["name"] == "versions"}
    assert len(nodes) == 3
    failed = [(check["name"], check["says"]) for check in checks if check["state"] == "failed"]
    assert [name for name, _ in failed] == ["resources"] and "an expert (1 CPU, 1 GPU) fits no node" in failed[0][1]
    for name in NAMES - {"resources"}:
        assert {check["where"] for check in checks if check["name"] == name} >= nodes
