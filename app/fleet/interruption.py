"""Ctrl-C and SIGTERM: acknowledged at once; what runs ends, or is asked to save first; the second one ends at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# 130 is what shells give for Ctrl-C (128 + 2); 75 is EX_TEMPFAIL of sysexits.h: try again later.
STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 75}
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


# A KeyboardInterrupt passes through every `except Exception`, here and in libraries.
class Ended(KeyboardInterrupt):
    """Raised in the main thread by a signal; ``status`` is the exit status to end with."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {_NAMES[signal.Signals(number)]}")
        self.status = STATUSES[signal.Signals(number)]


@contextmanager
def ends_on_signals() -> Iterator[None]:
    """Meanwhile the first signal raises Ended, the second ends the process: Ray's own processes go with it."""

    def asked(number: int) -> None:
        _say(f"{_NAMES[signal.Signals(number)]}: ending; what is finished is kept. Once more ends at once")
        raise Ended(number)

    with _handled(asked):
        yield


@contextmanager
def saves_on_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile the first signal calls ``stop`` with its number, the second ends the process."""

    def asked(number: int) -> None:
        name = _NAMES[signal.Signals(number)]
        _say(f"{name}: every run saves and ends at its next step. Once more ends at once, without saving")
        stop(number)

    with _handled(asked):
        yield


@contextmanager
def own_handlers_kept() -> Iterator[None]:
    """Put back handlers of ours that what runs here replaces: Ray sets its own for SIGTERM when it starts."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            # Python's functions only: the system's default and None are no callables, and there Ray's own may stay.
            if callable(handler):
                signal.signal(number, handler)


@contextmanager
def _handled(first: Callable[[int], None]) -> Iterator[None]:
    """Only the main thread may set handlers; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            _say(f"{_NAMES[signal.Signals(number)]} again: ended at once; run the same command again to continue")
            # Past all cleaning up: a second signal is sent where the first hangs.
            os._exit(STATUSES[signal.Signals(number)])
        first(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    """Past logging and Python's streams: a handler may interrupt either in the middle of a write."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{text}\n".encode())
