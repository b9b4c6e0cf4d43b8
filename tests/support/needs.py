"""Things a machine may lack: a test that needs one skips and says so, or fails where everything is required."""

from __future__ import annotations

import os
import shutil

import pytest


def need(what: str, present: bool, cure: str) -> None:
    """Skip the test unless ``present``; with XELM_REQUIRE_ALL=1 (continuous integration) fail instead."""
    if present:
        return
    message = f"{what} is missing; {cure}"
    if os.environ.get("XELM_REQUIRE_ALL"):
        pytest.fail(message)
    pytest.skip(message)


def need_program(name: str, package: str) -> str:
    """The path of a program of a Debian package."""
    found = shutil.which(name)
    need(name, found is not None, f"apt-get install {package}")
    return str(found)
