from __future__ import annotations

from app.pipelines.progress import progress_line


def test_a_line_shows_state_step_speed_loss_and_time_left() -> None:
    row = {"step": 50, "tokens_seen": 5000, "tokens_per_second": 100.0, "loss": 2.5}
    line = progress_line("expert-00", "running", 150, row)
    assert "expert-00" in line and "50/150" in line and "100 tokens/s" in line and "2.500" in line
    assert "ETA 1m 40s" in line  # 100 steps of 100 tokens at 100 tokens/s


def test_a_model_without_metrics_shows_its_state_only() -> None:
    assert progress_line("dense", "waiting", 10, None).split() == ["dense", "waiting"]
