"""How much slot time had no work though some waited: what orchestration itself costs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

Attempt = tuple[str, float, float]
"""(member, second of its start, second of its end): one attempt at a model."""


def idle_share(slots: Sequence[tuple[float, int]], runs: Iterable[Attempt]) -> float:
    """Share of slot time in which a slot was free while a member waited, from second 0 to the last end.

    slots: (second from which on, how many), ascending, the first at 0. runs: every attempt; a member waits whenever
    none of its own runs, until its last one ends. Each waiting member can fill one slot. 0 without slot time.
    """
    attempts = list(runs)
    last: dict[str, float] = {}
    for member, _, end in attempts:
        last[member] = max(end, last.get(member, 0.0))
    until = max(last.values(), default=0.0)
    times = {at for at, _ in slots} | {at for _, *both in attempts for at in both} | {0.0, until}
    marks = sorted(at for at in times if 0.0 <= at <= until)
    idle = offered = 0.0
    # Between two marks no run begins or ends and no slot comes or goes.
    for begin, end in pairwise(marks):
        count = [number for at, number in slots if at <= begin][-1]
        running = {member for member, start, stop in attempts if start <= begin < stop}
        waiting = sum(begin < end_of for member, end_of in last.items() if member not in running)
        # More may run than there are slots, just after some have gone.
        idle += (end - begin) * min(max(0, count - len(running)), waiting)
        offered += (end - begin) * count
    return idle / offered if offered else 0.0
