from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from app.fleet.interruption import SIGNALS, Ended, ends_on_signals, own_handlers_kept, saves_on_signals

_TWICE = """
import os, signal, sys, time
from app.fleet.interruption import saves_on_signals
with saves_on_signals(lambda number: print("saving", flush=True)):
    os.kill(os.getpid(), int(sys.argv[1]))
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)
"""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 75}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_nothing_trains_ends_what_runs_at_once(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    started = time.monotonic()
    with pytest.raises(Ended) as ended, ends_on_signals():
        os.kill(os.getpid(), number)
        time.sleep(30)
    assert time.monotonic() - started < 5 and ended.value.status == STATUS[number]
    assert "ending" in capfd.readouterr().err and signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_models_train_asks_them_to_save_and_the_second_ends_at_once(number: signal.Signals) -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", _TWICE, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout) == (STATUS[number], "saving\n") and time.monotonic() - started < 40
    assert "saves and ends at its next step" in done.stderr and "again: ended at once" in done.stderr


def test_what_trains_inside_of_what_ends_is_asked_first() -> None:
    asked: list[int] = []
    with ends_on_signals():
        with saves_on_signals(asked.append):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Ended):
            os.kill(os.getpid(), signal.SIGINT)
    assert asked == [signal.SIGINT]


def test_a_handler_that_ray_replaces_is_put_back() -> None:
    with ends_on_signals():
        ours = signal.getsignal(signal.SIGTERM)
        with own_handlers_kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is ours
