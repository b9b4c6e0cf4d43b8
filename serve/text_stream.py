"""Answers as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.answers import JsonDict

DONE = b"data: [DONE]\n\n"
"""The last event of a stream that has not failed."""


def event(body: JsonDict) -> bytes:
    """One event. A chunk holds whole characters, so no receiver must wait for half of one."""
    return b"data: " + json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"


class EventStream(StreamingResponse):
    """Events as they come; ``close`` is awaited however it ends, also if the client was gone before it began."""

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See StreamingResponse."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._close()
