"""The best schedule of independent runs on a number of slots that changes, by trying all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations

Timeline = Sequence[tuple[float, int]]
"""(second from which on, slots): ascending, the first at 0."""

_Waiting = tuple[float, ...]
"""Seconds of work left, ascending."""
_Running = tuple[tuple[float, float], ...]
"""(seconds of a slot left, start-up included; seconds of work left when it started), ascending."""

_NEVER = float("inf")
_RESOLUTION = 1e-6


def best_makespan(works: Sequence[float], overhead: float, timeline: Timeline) -> float:
    """Seconds until the last run ends under the best schedule; infinite if the slots end before the work.

    works: seconds of each run. overhead: seconds of a slot that each start costs beside. A run whose slot goes away
    keeps what it has done and needs another start; the schedule knows all in advance and chooses which run starts when
    and which one goes. Runs are not interrupted otherwise, and no slot stays free while a run waits.
    """

    @cache
    def search(now: float, running: _Running, waiting: _Waiting) -> float:
        if not running and not waiting:
            return now
        slots = [count for at, count in timeline if at <= now + _RESOLUTION][-1]
        if len(running) > slots:
            return min(search(now, *choice) for choice in _losses(running, waiting, slots))
        if waiting and len(running) < slots:
            return min(search(now, *choice) for choice in _starts(running, waiting, overhead))
        change = min((at for at, _ in timeline if at > now + _RESOLUTION), default=_NEVER)
        until = min(change, now + min((rest for rest, _ in running), default=_NEVER))
        if until == _NEVER:
            return _NEVER
        left = [(round(rest - (until - now), 6), work) for rest, work in running]
        return search(until, _ordered(run for run in left if run[0] > _RESOLUTION), waiting)

    return search(0.0, (), tuple(sorted(works)))


def _starts(running: _Running, waiting: _Waiting, overhead: float) -> Iterator[tuple[_Running, _Waiting]]:
    """Each choice of the run to start."""
    for work in set(waiting):
        rest = list(waiting)
        rest.remove(work)
        yield _ordered([*running, (work + overhead, work)]), tuple(rest)


def _losses(running: _Running, waiting: _Waiting, slots: int) -> Iterator[tuple[_Running, _Waiting]]:
    """Each choice of the runs that keep their slots."""
    for kept in set(combinations(running, slots)):
        lost = list(running)
        for run in kept:
            lost.remove(run)
        yield kept, tuple(sorted([*waiting, *(min(rest, work) for rest, work in lost)]))


def _ordered(runs: Iterable[tuple[float, float]]) -> _Running:
    return tuple(sorted(runs))
