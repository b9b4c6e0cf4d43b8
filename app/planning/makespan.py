"""How long independent trainings take on n slots, started in the order in which the fleet starts them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from app.fleet.fleet import plan_fleet


def makespan(tokens: Mapping[str, int], seconds: Mapping[str, float], slots: int) -> float:
    """Seconds until the last of the models is finished.

    tokens: each model's work, by which the fleet orders them; seconds: how long each takes.
    """
    fleet = plan_fleet([(name, work, False) for name, work in tokens.items()], max_failures=0)
    # (second at which it ends, model) of those that run; the fleet itself says who starts, so both have one order.
    ends: list[tuple[float, str]] = []
    now = 0.0
    while not fleet.is_over:
        for name in fleet.next_to_start(slots - len(ends)):
            fleet = fleet.started(name)
            heapq.heappush(ends, (now + seconds[name], name))
        now, name = heapq.heappop(ends)
        fleet = fleet.done(name)
    return now
