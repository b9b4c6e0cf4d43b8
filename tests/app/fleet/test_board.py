from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifacts.store import Store
from app.fleet.board import last_metrics, progress_line


def test_a_line_shows_state_step_speed_loss_and_time_left() -> None:
    row = {"step": 50, "tokens_seen": 5000, "tokens_per_second": 100.0, "loss": 2.5}
    line = progress_line("expert-00", "running", 150, row)
    assert "expert-00" in line and "50/150" in line and "100 tokens/s" in line and "2.500" in line
    assert "ETA 1m 40s" in line  # 100 steps of 100 tokens at 100 tokens/s


@pytest.mark.parametrize("root", ["{tmp}", "memory://{tmp}"])
def test_the_newest_whole_row_is_shown_from_local_and_remote_stores(tmp_path: Path, root: str) -> None:
    stage = Store(root.format(tmp=tmp_path), str(tmp_path / "cache")).stage("model", "m")
    task: Any = SimpleNamespace(stage=stage)
    assert last_metrics(task) is None
    stage.write("metrics.jsonl", b'{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert last_metrics(task) == {"step": 2}


def test_a_model_without_metrics_shows_its_state_only() -> None:
    assert progress_line("dense", "waiting", 10, None).split() == ["dense", "waiting"]
