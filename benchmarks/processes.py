"""Ending processes that a benchmark or a test has started, with all they have started."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

import psutil


def kill_family(process: subprocess.Popen[Any]) -> None:
    """kill -9 a process and its descendants; nothing if it has ended."""
    family = [psutil.Process(process.pid)] if process.poll() is None else []
    family += family[0].children(recursive=True) if family else []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
