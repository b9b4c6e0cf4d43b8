"""So many clients of a server, played by locust in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.serving_answers import Expected, Tally

_USERS = Path(__file__).parent / "serving_users.py"
_LAST_ANSWERS_S = 120
"""Clients finish what they have begun when the time is over."""


class Clients:
    """Clients that expect these answers of a server's address."""

    def __init__(self, address: str, expected: Expected) -> None:
        self._address, self._expected = address, expected

    async def run(self, count: int, seconds: float, seed: int) -> Tally:
        """All of them, for so long; what they saw. Raises RuntimeError with what locust said if it fails."""
        with tempfile.TemporaryDirectory(prefix="xelm-clients-") as folder:
            expected, tally = Path(folder, "expected.json"), Path(folder, "tally.json")
            self._expected.write(expected)
            told = {"XELM_EXPECTED": str(expected), "XELM_TALLY": str(tally), "XELM_SEED": str(seed)}
            command = [sys.executable, "-m", "locust", "-f", str(_USERS), "--host", self._address, "--headless"]
            command += ["--users", str(count), "--spawn-rate", str(count), "--run-time", f"{max(1, round(seconds))}s"]
            # The project's root is where `benchmarks` is found.
            process = await asyncio.create_subprocess_exec(
                *command,
                *("--stop-timeout", str(_LAST_ANSWERS_S), "--only-summary", "--exit-code-on-error", "0"),
                env=os.environ | told | {"PYTHONPATH": str(_USERS.parents[1])},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                _, said = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if not tally.exists():
                raise RuntimeError(f"locust ended with status {process.returncode}: {said.decode()[-2000:]}")
            return Tally.read(tally)
