"""What became of the slots' time: how much had no work though some waited, and how much was held by runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

Attempt = tuple[str, float, float]
"""(member, second of its start, second of its end): one attempt at a model."""
Slots = Sequence[tuple[float, int]]
"""(second from which on, how many), ascending."""


@dataclass(frozen=True)
class _Span:
    """Seconds in which no run begins or ends and no slot comes or goes."""

    seconds: float
    slots: int
    running: int
    waiting: int


def idle_share(slots: Slots, runs: Iterable[Attempt]) -> float:
    """Share of slot time in which a slot was free while a member waited, from second 0 to the last end.

    slots: (second from which on, how many), ascending, the first at 0. runs: every attempt; a member waits whenever
    none of its own runs, until its last one ends. Each waiting member can fill one slot. 0 without slot time.
    """
    spans = list(_spans(slots, runs))
    # More may run than there are slots, just after some have gone.
    idle = sum(span.seconds * min(max(0, span.slots - span.running), span.waiting) for span in spans)
    offered = sum(span.seconds * span.slots for span in spans)
    return idle / offered if offered else 0.0


def held_seconds(slots: Slots, runs: Iterable[Attempt]) -> float:
    """Slot seconds that attempts have held: one whose slot has gone waits for another and holds none meanwhile."""
    return sum(span.seconds * min(span.slots, span.running) for span in _spans(slots, runs))


def mean_startup(starts: Iterable[tuple[float, float]], slots: Slots) -> float:
    """Mean seconds from a start to its loop; one that slots were lost in meanwhile may have waited, and is left out.

    starts: (second of the start, second of the loop's begin). Raises StatisticsError where none is left.
    """
    lost = [at for (_, before), (at, count) in pairwise(slots) if count < before]
    return mean(loop - start for start, loop in starts if not any(start <= at < loop for at in lost))


def _spans(slots: Slots, runs: Iterable[Attempt]) -> Iterator[_Span]:
    attempts = list(runs)
    last: dict[str, float] = {}
    for member, _, end in attempts:
        last[member] = max(end, last.get(member, 0.0))
    until = max(last.values(), default=0.0)
    times = {at for at, _ in slots} | {at for _, *both in attempts for at in both} | {0.0, until}
    for begin, end in pairwise(sorted(at for at in times if 0.0 <= at <= until)):
        running = {member for member, start, stop in attempts if start <= begin < stop}
        waiting = sum(begin < end_of for member, end_of in last.items() if member not in running)
        yield _Span(end - begin, [number for at, number in slots if at <= begin][-1], len(running), waiting)
