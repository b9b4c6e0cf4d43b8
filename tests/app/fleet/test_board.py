from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifacts.store import Store
from app.core.errors import StorageError
from app.core.records import JsonObject
from app.core.units import format_seconds
from app.fleet import board
from app.fleet.board import ProgressBoard, last_metrics, progress_line
from app.fleet.fleet import plan_fleet


def test_a_line_shows_state_step_speed_loss_and_time_left() -> None:
    row: JsonObject = {"step": 50, "tokens_seen": 5000, "loss": 2.5}
    line = progress_line("expert-00", "running", 150, row, 100.0)
    assert "expert-00" in line and "50/150" in line and "100 tokens/s" in line and "2.500" in line
    assert "1m 40s left" in line  # 100 steps of 100 tokens at 100 tokens/s


@pytest.mark.parametrize("root", ["{tmp}", "memory://{tmp}"])
def test_the_newest_whole_row_is_shown_from_local_and_remote_stores(tmp_path: Path, root: str) -> None:
    stage = Store(root.format(tmp=tmp_path), str(tmp_path / "cache")).stage("model", "m")
    task: Any = SimpleNamespace(stage=stage)
    assert last_metrics(task) is None
    stage.write("metrics.jsonl", b'{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert last_metrics(task) == {"step": 2}


def test_a_model_without_metrics_shows_its_state_only() -> None:
    assert progress_line("dense", "waiting", 10, None).split() == ["dense", "waiting"]


def _task(store: Store, name: str, steps: int) -> Any:
    return SimpleNamespace(
        key=name,
        name=name,
        stage=store.stage("model", name),
        spec=SimpleNamespace(num_steps=steps, budget_tokens=100 * steps),
    )


def _at_step(task: Any, step: int) -> None:
    row = {"step": step, "tokens_seen": 100 * step, "tokens_per_second": 9999.0, "loss": 2.0}
    task.stage.write("metrics.jsonl", (json.dumps(row) + "\n").encode())


def test_the_first_line_is_all_together_and_its_time_left_does_not_follow_one_slow_step(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first, second, third = tasks = [_task(store, name, 100) for name in ("a", "b", "c")]
    fleet = plan_fleet([(task.key, 10_000, False) for task in tasks], 0).started("a").started("b")
    board = ProgressBoard(tasks, fleet)
    assert board.lines(0.0)[0] == "0 of 3 models done, 0% of 30k tokens"
    for second_of_clock, step in ((10.0, 10), (20.0, 20), (30.0, 21)):
        _at_step(first, step)
        _at_step(second, step)
        together = board.lines(second_of_clock)[0]
    left = (7900 * 2 + 10_000) / (2 * 1100 / 20)  # measured from step 10, the first that was seen
    assert together == f"0 of 3 models done, 14% of 30k tokens, about {format_seconds(left)} of this training left"
    assert third.stage.names() == []


def test_models_that_were_given_up_count_neither_as_done_nor_as_to_do(tmp_path: Path) -> None:
    first, second = tasks = [_task(Store(str(tmp_path)), name, 100) for name in ("a", "b")]
    fleet = plan_fleet([(task.key, 10_000, False) for task in tasks], 0).started("a").started("b")
    _at_step(first, 90)
    _at_step(second, 50)
    board = ProgressBoard(tasks, fleet)
    board.show(fleet := fleet.failed("a", "its loss is NaN", try_again=False))
    assert board.lines(0.0)[0] == "0 of 2 models done, 50% of 10k tokens"
    board.show(fleet.failed("b", "its loss is NaN", try_again=False))
    assert board.lines(1.0)[0] == "0 of 2 models done, 0% of 0 tokens"


def test_a_run_starts_until_it_has_made_a_step_of_its_own_also_after_a_failure(tmp_path: Path) -> None:
    task = _task(Store(str(tmp_path)), "a", 100)
    fleet = plan_fleet([("a", 10_000, False)], 5).started("a")
    board = ProgressBoard([task], fleet)
    assert board.lines(0.0)[1].split() == ["a", "starting"]
    _at_step(task, 3)
    assert board.lines(1.0)[1].split()[:2] == ["a", "running"]
    board.show(fleet := fleet.failed("a", "lost"))
    assert board.lines(2.0)[1].split()[:2] == ["a", "waiting"]
    board.show(fleet.started("a"))
    assert board.lines(3.0)[1].split()[:2] == ["a", "starting"]
    _at_step(task, 4)
    assert board.lines(4.0)[1].split()[:2] == ["a", "running"]


def test_a_run_that_does_lost_steps_again_is_running_from_its_first_one(tmp_path: Path) -> None:
    (task,) = tasks = [_task(Store(str(tmp_path)), "a", 300)]
    fleet = plan_fleet([("a", 30_000, False)], 1)
    board = ProgressBoard(tasks, fleet)
    board.show(fleet.started("a"))
    shown = []
    for step in (190, 101, 102):  # killed at 190, with a checkpoint at 100
        _at_step(task, step)
        shown.append(board.lines(float(step))[1].split()[1])
    assert shown == ["starting", "starting", "running"]


def test_tokens_of_what_was_given_up_are_not_still_to_come(tmp_path: Path) -> None:
    tasks = [_task(Store(str(tmp_path)), name, 100) for name in ("a", "b")]
    fleet = plan_fleet([(task.key, 10_000, False) for task in tasks], 0).started("a").started("b")
    _at_step(tasks[1], 50)
    lost = fleet.failed("a", "no text", try_again=False)
    assert ProgressBoard(tasks, lost).lines(0.0)[0].startswith("0 of 2 models done, 50% of 10k tokens")


def test_a_store_that_is_away_for_a_moment_ends_neither_the_display_nor_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_task: object) -> None:
        raise StorageError("bucket/metrics.jsonl: timed out")

    task = _task(Store(str(tmp_path)), "a", 100)
    monkeypatch.setattr(board, "last_metrics", away)
    with ProgressBoard([task], plan_fleet([(task.key, 10_000, False)], 0).started("a")):
        pass
    assert "progress cannot be read now: bucket/metrics.jsonl: timed out" in caplog.text
