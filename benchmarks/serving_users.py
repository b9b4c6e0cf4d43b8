"""Users for locust: streaming clients that know what they must be told.

Some go away in the middle, some ask for what is not given.

``locust -f benchmarks/serving_users.py`` with what they expect, where to write what they saw, and a random seed in
``XELM_EXPECTED``, ``XELM_TALLY`` and ``XELM_SEED``; ``benchmarks.serving_load`` sets them.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from locust import HttpUser, events, task
from locust.clients import ResponseContextManager
from locust.env import Environment
from requests.exceptions import RequestException

from benchmarks.serving_answers import Expected, Tally

FIRST, BETWEEN = "first_token", "between_chunks"
_PAUSE_S = 0.2  # other users go on meanwhile: locust has time.sleep patched
_KINDS = ("whole", "leaves", "too long", "malformed")
_SHARES = (0.85, 0.08, 0.04, 0.03)
_QUANTILES = {"p50": 0.5, "p99": 0.99}
_tally = Tally()
_numbers = itertools.count(int(os.environ.get("XELM_SEED", "0")))


class Asker(HttpUser):
    """One client: asks, reads, asks again."""

    def on_start(self) -> None:
        """Each has random numbers of its own."""
        self._chance = random.Random(next(_numbers))
        self._expected = _expected()

    @task
    def ask(self) -> None:
        """One request."""
        (kind,) = self._chance.choices(_KINDS, _SHARES)
        number = self._chance.randrange(len(self._expected.prompts))
        prompt = [1] * 100_000 if kind == "too long" else self._expected.prompts[number]
        body = {"prompt": prompt, "max_tokens": self._expected.tokens, "temperature": 0, "stream": True}
        content = "{" if kind == "malformed" else json.dumps(body)
        leaves_after = self._chance.randrange(1, 8) if kind == "leaves" else None
        headers = {"content-type": "application/json"}
        begun = time.perf_counter()
        try:
            with self.client.post(
                "/v1/completions", data=content, headers=headers, stream=True, catch_response=True, name=kind
            ) as response:
                # What is refused is counted by its status: locust's own count of failures is not used.
                response.success()
                self._take(response, number, begun, leaves_after)
        except RequestException as error:
            _tally.failed.append(f"{kind}: {type(error).__name__}: {error}")
            time.sleep(_PAUSE_S)  # a server that is gone would be asked thousands of times a second

    def _take(self, response: ResponseContextManager, number: int, begun: float, leaves_after: int | None) -> None:
        _tally.statuses[str(response.status_code)] += 1
        if response.status_code == 200:
            self._read(response, number, begun, leaves_after)
        elif response.status_code == 429:
            time.sleep(float(response.headers.get("retry-after", 1)))
        elif response.status_code >= 500 or not response.status_code:
            _tally.failed.append(f"{response.status_code}: {response.error or response.text[:200]}")
            time.sleep(_PAUSE_S)

    def _read(self, response: ResponseContextManager, number: int, begun: float, leaves_after: int | None) -> None:
        told, last, chunks, version = "", 0.0, 0, 0
        for line in response.iter_lines():
            if not line.startswith(b"data: {"):
                continue
            news = json.loads(line.removeprefix(b"data: "))
            if "error" in news:
                _tally.failed.append(f"in a stream: {news['error']['message']}")
                return
            now = time.perf_counter()
            self._waited(BETWEEN if last else FIRST, now - (last or begun))
            last, chunks = now, chunks + 1
            choice = news["choices"][0]
            told += choice["text"]
            version = choice.get("xelm", {}).get("version", version)
            if chunks == leaves_after:
                _tally.answers["left"] += 1
                response.close()
                return
        found = self._expected.answers[version][number].judge(told) if version else "cut off"
        _tally.answers[found] += 1
        if found in ("wrong", "cut off"):
            _tally.failed.append(f"{found}: prompt {number}, version {version}: {told[:80]!r}")

    def _waited(self, name: str, seconds: float) -> None:
        told: dict[str, Any] = {"response_length": 0, "exception": None, "context": {}}
        self.environment.events.request.fire(request_type="wait", name=name, response_time=1000 * seconds, **told)


def write_tally(environment: Environment, **_: object) -> None:
    """Write what all have seen, with locust's quantiles (two digits)."""
    for name in (FIRST, BETWEEN):
        entry = environment.stats.get(name, "wait")
        if entry.num_requests:
            quantiles = {said: entry.get_response_time_percentile(share) / 1000 for said, share in _QUANTILES.items()}
            _tally.seconds[f"{name}_s"] = quantiles
    _tally.write(Path(os.environ["XELM_TALLY"]))


@functools.cache
def _expected() -> Expected:
    return Expected.read(Path(os.environ["XELM_EXPECTED"]))


events.quitting.add_listener(write_tally)  # type: ignore[no-untyped-call]
