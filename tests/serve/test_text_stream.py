from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from serve.text_stream import EventStream, event


def test_a_client_that_does_not_read_its_stream_is_left_and_what_it_held_is_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = []

    async def events() -> AsyncIterator[bytes]:
        while True:
            yield event({"text": "a"})

    async def close() -> None:
        closed.append(True)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    stream = EventStream(events(), close, 0.1)
    asyncio.run(asyncio.wait_for(stream({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send), 20))  # type: ignore[arg-type]
    assert closed == [True] and "has not read its stream" in caplog.text
