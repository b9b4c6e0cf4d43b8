"""From a job to its HTTP answer: whole or streamed, within time, and ended when the client is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.core.errors import Overloaded
from serve.answers import Answer, Shape, joined, new_answer
from serve.limits import UNREAD_S, ServingLimits
from serve.measures import JobMeasures, Measures
from serve.messages import Accepted, Backend, Batch, Job, Piece
from serve.problems import described
from serve.text_stream import DONE, EventStream, event

T = TypeVar("T")
_GONE = 499
"""Nobody reads this status: the client has closed the connection."""


@dataclass(frozen=True)
class Asked:
    """A job and how its answer is to look."""

    job: Job
    shape: Shape
    stream: bool
    with_usage: bool
    per_token: bool


class _Running:
    """The batches of one job, until its time is over."""

    def __init__(self, backend: Backend, job: Job, seconds: float, measures: JobMeasures) -> None:
        self._batches = backend.answer(job)
        self._deadline = time.monotonic() + seconds
        self._seconds, self._measures = seconds, measures

    async def next(self) -> Batch | None:
        """The next batch, None after the last. Raises TimeoutError."""
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                batch = await anext(self._batches, None)
        except TimeoutError:
            raise TimeoutError(f"the answer took longer than the {self._seconds:g} s allowed") from None
        if batch is not None:
            self._measures.observe(batch)
        return batch

    async def close(self) -> None:
        """Free what the job holds."""
        await self._batches.aclose()


class Answering:
    """Answers the requests of one ingress, ``limits.concurrent`` at once, those that wait for models included."""

    def __init__(
        self, backend: Backend, limits: ServingLimits, measures: Measures, require: Callable[[str], Awaitable[None]]
    ) -> None:
        """require: waits until the models are known, and raises for one that is not served."""
        self._backend, self._limits, self._measures, self._require = backend, limits, measures, require
        self._count = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of the requests that are answered at once. Raises Overloaded where there are as many as may be."""
        # Nothing is awaited between this look and the count, so requests of one event loop need no lock.
        if self._count >= self._limits.concurrent:
            raise Overloaded(
                f"{self._count} requests are being answered, as many as may be at once; ask again in a few seconds"
            )
        self._enter(1)
        try:
            yield
        finally:
            self._enter(-1)

    async def respond(self, request: Request, asked: Asked) -> Response:
        """The answer. Raises XelmErrors for what is refused, TimeoutError."""
        self._limits.require_within(asked.job)
        # What is held is given back from the last to the first, the place also where the close before it fails.
        async with contextlib.AsyncExitStack() as held:
            held.enter_context(self.place())
            # In its place: else those who wait for models would be more than the ingress has room for.
            if not await _unless_gone(request, self._served(asked.job.model)):
                return Response(status_code=_GONE)
            job = replace(asked.job, whole=not asked.stream)
            running = _Running(self._backend, job, self._limits.timeout_s, self._measures.of_job())
            held.push_async_callback(running.close)
            # Waited for before any header is sent, so that what is refused has a status of its own, in a stream too.
            first = await _unless_gone(request, running.next())
            if first is None:
                return Response(status_code=_GONE)
            if asked.stream:
                events = _events(asked, first, running)
                # The stream closes what is held, long after this call has returned.
                return EventStream(events, held.pop_all().aclose, self._limits.timeout_s + UNREAD_S)
            whole = await _unless_gone(request, _whole(asked, first, running))
            return Response(status_code=_GONE) if whole is None else whole

    async def _served(self, model: str) -> bool:
        await self._require(model)
        return True

    def _enter(self, change: int) -> None:
        self._count += change
        self._measures.answering.set(self._count)


def _started(asked: Asked, accepted: Accepted) -> Answer:
    job = asked.job
    return new_answer(accepted, job.n, job.model, asked.shape, job.logprobs is not None, asked.per_token)


async def _whole(asked: Asked, first: Batch, running: _Running) -> Response:
    pieces: list[Piece] = []
    batch: Batch | None = first
    while batch is not None:
        for news in batch.events:
            if isinstance(news, Accepted):
                answer, pieces = _started(asked, news), []  # a second one takes back what came before
            else:
                pieces.append(news)
        batch = await running.next()
    texts = joined(pieces, len(asked.job.prompts) * asked.job.n)
    choices = [answer.choice(piece) for piece in texts]
    return JSONResponse(answer.body(choices, answer.usage()))


async def _events(asked: Asked, first: Batch, running: _Running) -> AsyncIterator[bytes]:
    nothing: dict[str, Any] = {"usage": None} if asked.with_usage else {}
    try:
        batch: Batch | None = first
        while batch is not None:
            for news in batch.events:
                if isinstance(news, Accepted):  # again, only while nothing has been said
                    answer = _started(asked, news)
                else:
                    yield event({**answer.body([answer.choice(news)]), **nothing})
            batch = await running.next()
        if asked.with_usage:
            yield event(answer.body([], answer.usage()))
        yield DONE
    except Exception as error:  # the status has been sent already: the stream says what is wrong and ends
        yield event(described(error)[1])


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives; None if the client goes away first, and then the work is ended."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await _ended(task)
        await _ended(gone)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ended(task: asyncio.Future[Any]) -> None:
    # wait, unlike await, raises nothing of the task; and only once it has ended may the generator that it reads be
    # closed: Python refuses to close one that runs.
    task.cancel()
    await asyncio.wait({task})
