"""Streaming clients that know what they must be told: some go away in the middle, some ask for what is not given."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

NEAR_TIE = 1e-4
"""Nats between the two most probable tokens below which rounding may decide."""
_PAUSE_S = 0.2
_KINDS = ("whole", "leaves", "too long", "malformed")
_SHARES = (0.85, 0.08, 0.04, 0.03)


@dataclass(frozen=True)
class Answer:
    """The expected answer: pieces of text, and the margin with which each was chosen."""

    pieces: Sequence[str]
    margins: Sequence[float]

    def judge(self, told: str) -> str:
        """``right``, ``near tie`` where it leaves the text at a place that rounding decides, or ``wrong``."""
        at = 0
        for piece, margin in zip(self.pieces, self.margins, strict=True):
            if not told.startswith(piece, at):
                return "near tie" if margin < NEAR_TIE else "wrong"
            at += len(piece)
        return "right" if at == len(told) else "wrong"


@dataclass
class Tally:
    """What all clients saw. failed: what is neither an answer nor a refusal; first, between: seconds to tokens."""

    answers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)


class Clients:
    """``count`` clients of a server, until a time of the monotonic clock. answers: of each version, by prompt."""

    def __init__(
        self, address: str, prompts: Sequence[Sequence[int]], answers: Mapping[int, Sequence[Answer]], tokens: int
    ) -> None:
        self._address, self._prompts, self._answers, self._tokens = address, prompts, answers, tokens
        self.tally = Tally()

    async def run(self, count: int, until: float, seed: int) -> None:
        """All of them."""
        limits = httpx.Limits(max_connections=count + 1)
        async with httpx.AsyncClient(base_url=self._address, timeout=300, limits=limits) as http:
            await asyncio.gather(*(self._client(http, random.Random(seed + i), until) for i in range(count)))

    async def _client(self, http: httpx.AsyncClient, chance: random.Random, until: float) -> None:
        while time.monotonic() < until:
            (kind,) = chance.choices(_KINDS, _SHARES)
            number = chance.randrange(len(self._prompts))
            body: dict[str, Any] = {"prompt": self._prompts[number], "max_tokens": self._tokens, "temperature": 0}
            if kind == "too long":
                body["prompt"] = [1] * 100_000
            content = "{" if kind == "malformed" else json.dumps({**body, "stream": True})
            leaves_after = chance.randrange(1, 8) if kind == "leaves" else None
            try:
                await self._ask(http, content, number, leaves_after)
            except httpx.HTTPError as error:
                self.tally.failed.append(f"{kind}: {type(error).__name__}: {error}")
                await asyncio.sleep(_PAUSE_S)  # a server that is gone would be asked thousands of times a second

    async def _ask(self, http: httpx.AsyncClient, content: str, number: int, leaves_after: int | None) -> None:
        begun, told, last, chunks, version = time.monotonic(), "", 0.0, 0, 0
        headers = {"content-type": "application/json"}
        async with http.stream("POST", "/v1/completions", content=content, headers=headers) as response:
            self.tally.statuses[response.status_code] += 1
            if response.status_code != 200:
                said = (await response.aread()).decode()
                if response.status_code >= 500:
                    self.tally.failed.append(f"{response.status_code}: {said[:200]}")
                elif response.status_code == 429:
                    await asyncio.sleep(float(response.headers.get("retry-after", 1)))
                return
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                news = json.loads(line.removeprefix("data: "))
                if "error" in news:
                    self.tally.failed.append(f"in a stream: {news['error']['message']}")
                    return
                now = time.monotonic()
                (self.tally.between if last else self.tally.first).append(now - (last or begun))
                last, chunks = now, chunks + 1
                choice = news["choices"][0]
                told += choice["text"]
                version = choice.get("xelm", {}).get("version", version)
                if chunks == leaves_after:
                    self.tally.answers["left"] += 1
                    return
        found = self._answers[version][number].judge(told) if version else "cut off"
        self.tally.answers[found] += 1
        if found in ("wrong", "cut off"):
            self.tally.failed.append(f"{found}: prompt {number}, version {version}: {told[:80]!r}")
