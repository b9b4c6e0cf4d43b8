"""A run's experts on m spot GPUs, drawn many times; beside them one dense model trained on all of them in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from app.core.records import FloatArray, JsonObject
from app.core.seeding import generator
from app.fleet.fleet import plan_fleet
from app.planning.costs import money, slot_counts
from app.planning.outlook import DENSE, HOPELESS, Assumptions, Work, experts_of
from app.planning.simulation import Conditions, Outcome, simulate

_HOUR = 3600.0
_FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Multiples of the best interval by Daly's formula that are tried."""
_SHOWN = (50, 90, 99)


def spot_outlook(works: Sequence[Work], assumed: Assumptions, daly: float, interval: float, draws: int) -> JsonObject:
    """Hours and money by number of GPUs, and the best interval between saves by simulation.

    works: experts, and the model ``dense``; others are left out. daly, interval: seconds of training between two saves,
    the best by formula and the configured one. draws: fleets simulated for each figure. Percentiles of the draws; None
    in place of the figures of what is not expected to end (``HOPELESS``), which a simulation would not either.
    """
    experts = experts_of(works)
    dense = next(work for work in works if work.name == DENSE)
    rows = [_row(experts, dense, assumed, interval, slots, draws) for slots in slot_counts(len(experts))]
    return {"draws": draws, "rows": rows, "interval": _best_interval(experts, assumed, daly, draws)}


def _row(
    experts: Sequence[Work], dense: Work, assumed: Assumptions, interval: float, slots: int, draws: int
) -> JsonObject:
    seconds = {work.name: assumed.seconds(work) for work in experts}
    apart = _drawn(experts, seconds, _on(assumed, interval, slots), draws)
    # A dense model on all machines waits for each of them: it is stopped as often as all of them together.
    together = replace(_on(assumed, interval / slots, 1), between=assumed.between / slots)  # as many steps, sooner
    in_step = _drawn([dense], {dense.name: assumed.seconds(dense) / slots}, together, draws)
    return {
        "gpus": slots * assumed.gpus_each,
        "experts": _figures(apart, assumed, 1.0),
        "dense_in_step": _figures(in_step, assumed, float(slots)),
    }


def _on(assumed: Assumptions, interval: float, slots: int) -> Conditions:
    return Conditions(
        slots=((0.0, slots),),
        between=assumed.between,
        # `restart` lasts until training goes on: notice, new machine and start together. The run pays it too where
        # another slot is idle: there is no new machine to wait for, but notice and start are the longer part.
        replaced=assumed.restart,
        noticed=assumed.restart,
        interval=max(interval, assumed.save),
        stall=assumed.stall,
        save=assumed.save,
    )


def _drawn(works: Sequence[Work], seconds: Mapping[str, float], conditions: Conditions, draws: int) -> list[Outcome]:
    """None are drawn of what is not expected to end."""
    if max(conditions.expected_slowdown(work) for work in seconds.values()) > HOPELESS:
        return []
    fleet = plan_fleet([(work.name, work.tokens, False) for work in works], max_failures=0)
    # The same random numbers for every row and interval: what differs between them is not the luck of a draw.
    return [simulate(fleet, seconds, conditions, generator(0, "spot", str(draw))) for draw in range(draws)]


def _figures(outcomes: Sequence[Outcome], assumed: Assumptions, machines: float) -> JsonObject | None:
    """Percentiles of hours and money; None where none were drawn. machines: GPUs' machines that work as long as one
    slot is busy.
    """
    if not outcomes:
        return None
    hours = np.array([outcome.makespan for outcome in outcomes]) / _HOUR
    used = np.array([outcome.busy for outcome in outcomes]) / _HOUR * machines * assumed.gpus_each
    spent = np.array(
        [money(gpu, assumed.gpu.spot, wall, assumed.head_per_hour) for gpu, wall in zip(used, hours, strict=True)]
    )
    return {
        "hours": _percentiles(hours),
        "money": _percentiles(spent),
        "interruptions": float(np.mean([outcome.interruptions for outcome in outcomes])),
        "hours_redone": float(np.mean([outcome.redone for outcome in outcomes])) * machines / _HOUR,
    }


def _percentiles(values: FloatArray) -> JsonObject:
    return {f"p{share}": float(np.percentile(values, share)) for share in _SHOWN}


def _best_interval(experts: Sequence[Work], assumed: Assumptions, daly: float, draws: int) -> JsonObject:
    """Mean time of the longest expert on one machine by interval, as a multiple of the undisturbed; the least is best.

    The same machines are taken at the same times for each interval. Those with which it would not end are left out.
    """
    longest = max(experts, key=lambda work: work.flops)
    seconds = assumed.seconds(longest)
    slower = {}
    for interval in sorted({max(factor * daly, assumed.save) for factor in _FACTORS}):
        if found := _drawn([longest], {longest.name: seconds}, _on(assumed, interval, 1), draws):
            slower[interval] = float(np.mean([outcome.makespan for outcome in found])) / seconds
    return {
        "seconds": list(slower),
        "slowdown": list(slower.values()),
        "best_seconds": min(slower, key=lambda interval: slower[interval]),
        "daly_seconds": daly,
        "at_daly": slower[max(daly, assumed.save)],
    }
