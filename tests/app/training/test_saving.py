from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import Store
from app.core.errors import LeaseLost, Preempted, StorageError
from app.training import loop, saving
from app.training.hooks import StopRequest
from app.training.loop import train
from app.training.saving import Saver, save_fits
from app.training.state import Progress, State
from tests.support.tiny_models import tiny_model
from tests.support.tiny_training import SPEC, Counting, Recorder


def state(step: int) -> State:
    return State({"w": torch.full((2,), float(step))}, {}, Progress("k", step, step, 1.0))


class Slow:
    """Checkpoints that take their time, or fail some times first."""

    def __init__(self, seconds: float = 0.0, fails: int = 0) -> None:
        self.steps: list[int] = []
        self.tries = 0
        self._seconds, self._fails = seconds, fails
        self.go = threading.Event()
        self.go.set()

    def latest(self) -> Path | None:
        """Nothing yet."""
        return None

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep the step's number."""
        self.tries += 1
        if self.tries <= self._fails:
            raise StorageError("the disk is full")
        assert self.go.wait(10)
        time.sleep(self._seconds)
        self.steps.append(step)


def test_training_goes_on_while_a_state_is_written() -> None:
    slow = Slow()
    slow.go.clear()
    with Saver(slow) as saver:
        saver.save(lambda: state(1))
        assert slow.steps == []  # save returned before anything was committed
        slow.go.set()
        saver.wait()
        assert slow.steps == [1]


def test_states_are_saved_in_order_one_at_a_time() -> None:
    slow = Slow(seconds=0.01)
    with Saver(slow) as saver:
        for step in (1, 2, 3):
            saver.save(lambda step=step: state(step))  # type: ignore[misc]
    assert slow.steps == [1, 2, 3]
    assert (
        saver.saves == 3
        and saver.stalled_seconds >= 0.02
        and saver.last_seconds is not None
        and saver.last_seconds >= 0.01
    )


def test_a_save_fits_where_half_as_long_again_would() -> None:
    assert save_fits(19.9, 30.0) and not save_fits(20.0, 30.0)


@pytest.fixture
def every_step_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_LOGGED_STEPS", 0.0)


@pytest.mark.usefixtures("every_step_is_logged")
def test_what_is_written_is_the_state_at_the_call_whatever_training_does_meanwhile(tmp_path: Path) -> None:
    spec = replace(SPEC, checkpoint_every_steps=3)
    checkpoints = ModelCheckpoints(Store(str(tmp_path)).stage("model", "m"), 9)
    checkpoints.claim()
    train(spec, tiny_model(), Counting(), checkpoints)
    for step in (3, 6):
        alone = tiny_model()
        stop = StopRequest()
        with pytest.raises(Preempted):
            train(SPEC, alone, Counting(), Slow(), [Recorder(stop_at=step, stop=stop)], stop)
        stored = load_file(checkpoints.stage.local(f"step-{step:08d}") / "model.safetensors")
        assert all(torch.equal(stored[name], weight) for name, weight in alone.named_parameters() if name in stored)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_WAITS_SECONDS", (0.001, 0.001))


@pytest.mark.usefixtures("short_waits")
def test_a_storage_that_fails_for_a_while_costs_nothing_but_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    failing = Slow(fails=2)
    with caplog.at_level(logging.WARNING), Saver(failing) as saver:
        saver.save(lambda: state(7))
    assert failing.steps == [7] and caplog.text.count("the disk is full") == 2 and "step 7" in caplog.text


@pytest.mark.usefixtures("short_waits")
def test_a_storage_that_goes_on_failing_ends_the_run_at_the_next_save() -> None:
    with pytest.raises(StorageError, match="full"), Saver(Slow(fails=3)) as saver:
        saver.save(lambda: state(1))
        saver.save(lambda: state(2))


def test_the_loops_own_error_is_not_hidden_by_one_of_saving() -> None:
    def lost(*_: object) -> None:
        raise LeaseLost("another attempt")

    taken = Slow()
    taken.save = lost  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError), Saver(taken) as saver:
        saver.save(lambda: state(1))
        raise ZeroDivisionError


@pytest.mark.usefixtures("every_step_is_logged")
@pytest.mark.parametrize(("seconds_left", "saved"), [(1000.0, True), (0.0, False)])
def test_a_machine_that_goes_too_soon_is_left_at_its_last_checkpoint(seconds_left: float, saved: bool) -> None:
    spec, stop, slow = replace(SPEC, checkpoint_every_steps=2), StopRequest(), Slow(seconds=0.01)

    class Notice(Recorder):
        def step(self, metrics: object) -> None:
            if metrics.step == 5:  # type: ignore[attr-defined]
                stop.ask("spot", time.time() + seconds_left)

    message = "after step 5" if saved else "too late to save: the newest checkpoint is step 4"
    with pytest.raises(Preempted, match=message):
        train(spec, tiny_model(), Counting(), slow, [Notice()], stop)
    assert slow.steps == ([2, 4, 5] if saved else [2, 4])
