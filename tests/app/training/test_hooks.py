from __future__ import annotations

import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import Preempted, StorageError
from app.training import hooks
from app.training.hooks import MetricsFile, NowAndThen, StepMetrics, StopRequest, running
from app.training.progress import training_progress
from tests.support.tiny_training import Recorder


def metrics(step: int) -> StepMetrics:
    return StepMetrics(step, 100 * step, 5.0 / step, 0.01, 1.5, 1000.0, 0.5 * step, 1.7e9 + step)


def written(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_each_logged_step_is_one_line_with_every_field(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    with running([file], 0):
        file.step(metrics(1))
        file.step(metrics(2))
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first == {
        "step": 1,
        "tokens_seen": 100,
        "loss": 5.0,
        "learning_rate": 0.01,
        "gradient_norm": 1.5,
        "tokens_per_second": 1000.0,
        "seconds": 0.5,
        "time": 1.7e9 + 1,
        "seconds_before": 0.0,
    }
    assert written(tmp_path / "metrics.jsonl") == [1, 2]


@pytest.mark.parametrize(("resumed", "kept"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3, 4])])
def test_rows_beyond_the_resumed_step_are_dropped(tmp_path: Path, resumed: int, kept: list[int]) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    with running([file], 0):
        for step in (1, 2, 3, 4):
            file.step(metrics(step))
    again = MetricsFile(path)
    with running([again], resumed):
        assert written(path) == kept
        again.step(metrics(resumed + 1))
    assert written(path) == [*kept, resumed + 1]


def test_lost_work_counts_among_the_seconds_of_all_attempts(tmp_path: Path) -> None:
    """One attempt is killed after 2 s, having saved step 1; one after 1.5 s that saved nothing; one before a step."""
    path = tmp_path / "metrics.jsonl"
    for resumed, steps in ((0, (1, 2, 3, 4)), (1, (2, 3)), (1, ())):
        with running([file := MetricsFile(path)], resumed):
            for step in steps:
                file.step(metrics(step))
    with running([last := MetricsFile(path)], 1):
        last.step(replace(metrics(2), seconds=0.25))
    assert last.seconds_before == 2.0 + 1.5
    found = training_progress([json.loads(line) for line in path.read_text().splitlines()])
    assert found is not None and found.worker_seconds == 2.0 + 1.5 + 0.25


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Every file of this process is full at this size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_that_a_full_disk_refuses_are_written_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    with running([file], 0):
        file.step(metrics(1))
        with largest_file(path.stat().st_size + 10):  # ten bytes of the second line
            file.step(metrics(2))
            file.step(metrics(3))
        file.step(metrics(4))
    assert written(path) == [1, 2, 3, 4]
    assert "kept until there is room" in caplog.text


def test_lines_that_are_lost_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.start(0)
    with largest_file(0):
        file.step(metrics(1))
        file.step(metrics(2))
        file.close()
    assert "the last 2 lines are lost" in caplog.text


def test_a_line_torn_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    with running([first], 0):
        first.step(metrics(1))
    with path.open("a") as file:
        file.write('{"step": 2, "tokens_se')
    with running([MetricsFile(path)], 5):
        assert written(path) == [1]


def test_an_orphan_that_goes_on_after_its_successor_has_started_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    orphan, successor = MetricsFile(path), MetricsFile(path)
    with running([orphan], 0):
        orphan.step(metrics(1))
        with running([successor], 1):
            orphan.step(metrics(2))
            successor.step(metrics(2))
            orphan.step(metrics(3))
    assert written(path) == [1, 2]


def test_hooks_are_closed_when_training_fails() -> None:
    hooks = [Recorder(), Recorder()]
    with pytest.raises(ZeroDivisionError), running(hooks, 4):
        raise ZeroDivisionError
    assert [(hook.started, hook.closed) for hook in hooks] == [([4], 1), ([4], 1)]


def test_a_hook_that_cannot_start_leaves_none_open() -> None:
    class Broken(Recorder):
        def start(self, step: int) -> None:
            raise OSError("disk full")

    first = Recorder()
    with pytest.raises(OSError, match="disk full"), running([first, Broken()], 0):
        raise AssertionError("not reached")
    assert first.closed == 1


def test_a_hook_that_cannot_close_does_not_keep_the_others_open() -> None:
    class Broken(Recorder):
        def close(self) -> None:
            raise OSError("disk full")

    hooks = [Recorder(), Broken(), Recorder()]
    with pytest.raises(OSError, match="disk full"), running(hooks, 0):
        pass
    assert hooks[0].closed == hooks[2].closed == 1


def test_now_and_then_sends_not_at_every_step_and_goes_on_when_the_storage_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    clock = iter(range(1000))
    monkeypatch.setattr(hooks.time, "monotonic", lambda: float(next(clock)) * 1e6)

    def send() -> None:
        calls.append(1)
        raise StorageError("away")

    for seconds, expected in ((0.0, 1), (1e12, 0)):
        calls.clear()
        hook = NowAndThen(send, seconds)
        with running([hook], 0):
            for step in (1, 2, 3):
                hook.step(metrics(step))
        assert len(calls) == expected


def test_a_send_that_takes_long_is_not_waited_for_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sent = [0.0], []
    monkeypatch.setattr(hooks.time, "monotonic", lambda: clock[0])

    def send() -> None:
        sent.append(clock[0])
        clock[0] += 60.0
        raise StorageError("timed out")

    hook = NowAndThen(send, 30.0)
    for step in range(200):
        clock[0] += 20.0
        hook.step(metrics(step + 1))
    # The first after 30 s; then 50 times what each one took.
    assert sent == [40.0, 3100.0]


def test_a_stop_says_why_where_and_how_to_go_on() -> None:
    stop = StopRequest()
    assert not stop.is_asked
    stop.ask("the spot machine is reclaimed")
    assert stop.is_asked
    with pytest.raises(Preempted, match=r"after step 12: the spot machine is reclaimed; run the same command again"):
        stop.raise_preempted(12, saved=12)
    with pytest.raises(Preempted, match=r"after step 12, too late to save: the newest checkpoint is step 10: the spot"):
        stop.raise_preempted(12, saved=10)


def test_a_stop_asked_for_elsewhere_keeps_a_workers_own_reason_and_the_earlier_deadline() -> None:
    own, told = StopRequest(), StopRequest()
    own.ask("the node goes", deadline=50.0)
    for stop in (own, told):
        stop.ask_too(40.0)
        stop.ask_too(math.inf)
        assert stop.is_asked and stop.deadline == 40.0
    with pytest.raises(Preempted, match="step 3: the node goes;"):
        own.raise_preempted(3, saved=3)
    with pytest.raises(Preempted, match="step 3: another of its workers was asked to;"):
        told.raise_preempted(3, saved=3)
