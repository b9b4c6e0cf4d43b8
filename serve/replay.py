"""A job whose replica went away goes on at another: what was delivered stays, and nothing comes twice or is missing.

A text goes on from its tokens: they are read again and the next ones drawn with the random numbers of their places. So
a greedy text is the one that it would have been. A drawn one is as probable as any, and the same as undisturbed where
no drafts are made; where they are, how many are made depends on how the text has gone so far, which starts anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from app.core.errors import ServingError
from serve.messages import Accepted, Batch, Job, Piece, Progress

T = TypeVar("T")
WAITS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try. One that a request itself brings down must not take all replicas with it."""
LOOKS, LOOK_S = 40, 0.1
"""How often, and with how many seconds between, a replica of the release that began a text is looked for."""


class ReplicaLost(ServingError):
    """A replica went away with a job in its hands."""


class NotLoaded(ServingError):
    """No models are there: they are still being loaded, or could not be started."""


class OtherRelease(ServingError):
    """A text was begun by another release than the one that is to go on with it."""


class Delivered:
    """What the listener of a job has got, and so what is left of the job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._accepted: Accepted | None = None
        self._was_accepted = False
        self._texts: dict[int, Progress] = {}
        self._weights: dict[int, list[Sequence[float]]] = {}
        self._taken_over: set[int] = set()
        self._begun = False

    def noted(self, batch: Batch) -> Batch | None:
        """What is new of a batch to the listener, who is given it; None if nothing is."""
        events: list[Accepted | Piece] = []
        for event in batch.events:
            if isinstance(event, Accepted):
                known, self._accepted = self._accepted, event
                self._was_accepted = True
                # Whoever goes on with a job says Accepted again; one that differs means that all begins anew.
                if known == event:
                    continue
                self._texts = {i: Progress() for i in range(len(event.prompt_tokens) * self._job.n)}
                self._weights, self._taken_over = {i: [] for i in self._texts}, set()
                events.append(event)
            else:
                events.append(self._note(event))
        return replace(batch, events=events) if events else None

    def left(self) -> Job | None:
        """The job that does what is missing; None if nothing is."""
        # Nothing has been shown yet, so any release may do it all.
        if self._accepted is None or not self._begun:
            return replace(self._job, accepted=self._was_accepted)
        if not self._texts:
            return None
        self._taken_over |= {i for i, progress in self._texts.items() if progress.made}
        return replace(self._job, release=self._accepted.release, going_on=dict(self._texts), accepted=True)

    def forget(self) -> bool:
        """Begin again from nothing, if the listener has shown nothing to anybody."""
        if self._job.whole:
            self._begun, self._accepted = False, None
        return self._job.whole

    def _note(self, piece: Piece) -> Piece:
        """Take note of a piece; the same, or at the end of a text that was taken over with the weights of all of it."""
        self._begun = True
        before, weights = self._texts[piece.choice], self._weights[piece.choice]
        weights += [token.weights for token in piece.tokens]
        if piece.finish is None:
            made = (*before.made, *(token.id for token in piece.tokens))
            self._texts[piece.choice] = Progress(made, before.prompt or bool(piece.prompt))
            return piece
        del self._texts[piece.choice]
        if piece.choice not in self._taken_over or piece.effort is None:
            return piece
        # The last replica has seen its own tokens alone. An end token, which is not shown, is not among these.
        means = [sum(column) / len(weights) for column in zip(*weights, strict=True)]
        return replace(piece, effort=replace(piece.effort, weights=means))


async def replayed(
    job: Job,
    answer: Callable[[Job], AsyncGenerator[Batch]],
    waits: Sequence[float] = WAITS_S,
    looks: int = LOOKS,
    look_s: float = LOOK_S,
) -> AsyncGenerator[Batch]:
    """The batches of a job over as many replicas as it takes. answer: asks one, raises ReplicaLost and OtherRelease.

    Raises ReplicaLost once ``waits`` are used up, OtherRelease when what a stream has begun with is served no more.
    """
    delivered, lost, looked = Delivered(job), 0, 0
    while (left := delivered.left()) is not None:
        batches = answer(left)
        try:
            async with aclosing(batches):
                async for batch in batches:
                    if (news := delivered.noted(batch)) is not None:
                        yield news
            return
        except ReplicaLost:
            if lost == len(waits):
                raise
            await asyncio.sleep(waits[lost])
            lost += 1
        except OtherRelease:
            # While a change is under way replicas of both releases answer, and the next call may reach one of ours.
            # What has not begun is refused for its model alone, which the replicas of a change before do not know yet.
            if looked == looks and (left.release is None or not delivered.forget()):
                raise
            await asyncio.sleep(look_s)
            looked = min(looked + 1, looks)


async def tried_again(ask: Callable[[], Awaitable[T]], waits: Sequence[float] = WAITS_S) -> T:
    """What ``ask`` gives, asked again after ReplicaLost. Raises it once ``waits`` are used up."""
    for wait in waits:
        try:
            return await ask()
        except ReplicaLost:
            await asyncio.sleep(wait)
    return await ask()
