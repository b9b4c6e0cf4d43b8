"""Answers as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.answers import JsonDict

log = logging.getLogger(__name__)
DONE = b"data: [DONE]\n\n"
"""The last event of a stream that has not failed."""


def event(body: JsonDict) -> bytes:
    """One event. A chunk holds whole characters, so no receiver must wait for half of one."""
    return b"data: " + json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"


class EventStream(StreamingResponse):
    """Events as they come; ``close`` is awaited however it ends, also if the client was gone before it began.

    A client that does not read for so long that the whole takes more than ``seconds`` is left: it holds a place.
    """

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], Awaitable[None]], seconds: float) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._close, self._seconds = close, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See StreamingResponse."""
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            log.warning("a client has not read its stream within %g s and is left", self._seconds)
        finally:
            # Here and not in the generator: one that was never begun runs no finally.
            await self._close()
