"""The makespan that the simulated fleet predicts for a chaos run, with what another chaos run has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from app.core.seeding import generator
from app.fleet.fleet import plan_fleet
from app.planning.simulation import Conditions, simulate

_DRAWS = 200


def simulated_makespan(steps: Mapping[str, int], slots: int, every: int, measured: Mapping[str, Any]) -> float:
    """Mean seconds, over 200 draws, until the last expert ends.

    steps: of each expert; every: steps between two saves; measured: ``parameters`` of another run's record:
    ``step_seconds`` while machines are shared, ``start_seconds`` from a kill to the next step, ``driver_seconds`` that
    the driver itself takes first, and ``seconds_between_interruptions`` of a slot, None where it was never interrupted.
    """
    pace, between = float(measured["step_seconds"]), measured["seconds_between_interruptions"]
    conditions = Conditions(
        slots=((0.0, slots),),
        interval=every * pace,
        start=float(measured["start_seconds"]),
        **({} if between is None else {"between": float(between)}),
    )
    fleet = plan_fleet([(name, count, False) for name, count in steps.items()], max_failures=0)
    seconds = {name: count * pace for name, count in steps.items()}
    drawn = [simulate(fleet, seconds, conditions, generator(0, "chaos", str(draw))).makespan for draw in range(_DRAWS)]
    return float(measured["driver_seconds"]) + fmean(drawn)


def measured_parameters(
    makespan: float, slots: int, interruptions: int, starts: Sequence[float], step: float, first_step: float
) -> dict[str, Any]:
    """What a run lends to the forecast of another. All times in seconds.

    interruptions: runs thrown back, over all slots; starts: from each kill to the next step, without any the time to
    the first step; step: of a step; first_step: until the first step of all begins.
    """
    start = median(starts) if starts else first_step
    return {
        "step_seconds": step,
        "start_seconds": start,
        "driver_seconds": max(0.0, first_step - start),
        "seconds_between_interruptions": makespan * slots / interruptions if interruptions else None,
    }
