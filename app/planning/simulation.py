"""A fleet of independent trainings on machines that are taken away, event by event. All times in seconds.

Each slot is a machine of its own, taken after a time drawn from an exponential distribution. The run on it goes back
to its last whole save and into the queue; the machine is replaced. Runs are chosen as the fleet chooses them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from app.fleet.fleet import Fleet
from app.planning.interval import slowdown

_NEVER = math.inf
# Times are sums of floats: two that mean one moment differ in their last digits.
_AT_ONCE = 1e-9


@dataclass(frozen=True)
class Conditions:
    """What machines and training do.

    slots: (second from which on, how many): ascending, the first at 0; those that go are the newest, and stay away.
    between: mean time until a machine is taken; infinite for never. replaced: from then until its slot can be used
    again; noticed: until its run is in the queue again. start: a run's start, in seconds of a core of its own; cores:
    what all starts share, infinite where each machine has its own. interval: training between two saves; stall: how
    long training waits for one; save: until it counts.
    """

    slots: Sequence[tuple[float, int]]
    interval: float
    between: float = _NEVER
    replaced: float = 0.0
    noticed: float = 0.0
    start: float = 0.0
    cores: float = _NEVER
    stall: float = 0.0
    save: float = 0.0

    def trained(self, seconds: float) -> float:
        """Training time done and saved ``seconds`` after the loop began."""
        # Saves are written beside training: one counts `late` seconds after training has gone on.
        late = max(self.save, self.stall) - self.stall
        return self.interval * max(0, math.floor((seconds - late) / (self.interval + self.stall) + _AT_ONCE))

    def done(self, seconds: float) -> float:
        """Training time done, saved or not, ``seconds`` after the loop began: without its waits for saves."""
        saves, rest = divmod(seconds, self.interval + self.stall)
        return self.interval * saves + min(rest, self.interval)

    def takes(self, work: float) -> float:
        """Undisturbed time of the loop for so much training; the last save is the model itself."""
        return work + self.stall * max(0, math.ceil(work / self.interval - _AT_ONCE) - 1)

    def expected_slowdown(self, work: float) -> float:
        """Of one run of so much training, by formula; one that ends before its first save has none to wait for."""
        if work <= self.interval:
            return slowdown(work, 0.0, self.replaced, self.between)
        late = max(self.save, self.stall) - self.stall
        return slowdown(self.interval, self.stall, self.replaced + late, self.between)


@dataclass(frozen=True)
class Outcome:
    """makespan; busy: seconds of slots with a run on them, starts included; redone: training that was lost and done
    again; interruptions: machines taken from under a run.
    """

    makespan: float
    busy: float
    redone: float
    interruptions: int


@dataclass
class _Run:
    """On a slot: what of the start is left, when the loop began (None: not yet), when the machine is taken."""

    key: str
    left: float
    taken: float
    began: float | None = None


@dataclass
class _State:
    now: float = 0.0
    running: dict[int, _Run] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)
    returning: list[tuple[float, str]] = field(default_factory=list)
    busy: float = 0.0
    redone: float = 0.0
    interruptions: int = 0


def simulate(fleet: Fleet, seconds: Mapping[str, float], conditions: Conditions, rng: Generator) -> Outcome:
    """Run the fleet once. seconds: training time of each member by key. The same random numbers give the same outcome.

    A fleet that can never end (no slot is left) has an infinite makespan.
    """
    state, left = _State(), dict(seconds)
    # Runs that are back go first, so that a slot that is free at the same moment can take them.
    while not fleet.is_over:
        back = [key for at, key in state.returning if at <= state.now + _AT_ONCE]
        state.returning = [(at, key) for at, key in state.returning if at > state.now + _AT_ONCE]
        for key in back:
            fleet = fleet.preempted(key)
        fleet = _start(state, fleet, conditions, rng)
        until = _next_event(state, left, conditions)
        if until == _NEVER:
            return Outcome(_NEVER, state.busy, state.redone, state.interruptions)
        _pass_time(state, until, conditions)
        # Before losses: a run that ends at the moment its machine is taken, or its slot goes, has ended.
        fleet = _ended(state, fleet, left, conditions)
        _lose(state, left, conditions)
    return Outcome(state.now, state.busy, state.redone, state.interruptions)


def _slots(state: _State, conditions: Conditions) -> int:
    return [count for at, count in conditions.slots if at <= state.now + _AT_ONCE][-1]


def _start(state: _State, fleet: Fleet, conditions: Conditions, rng: Generator) -> Fleet:
    free = [slot for slot in range(_slots(state, conditions)) if slot not in state.running]
    free = [slot for slot in free if state.closed.get(slot, 0.0) <= state.now + _AT_ONCE]
    # strict=False: fewer runs may wait than slots are free.
    for slot, key in zip(free, fleet.next_to_start(len(free)), strict=False):
        # The exponential distribution has no memory: drawing anew for each run is as good as once for the machine.
        lasts = float(rng.exponential(conditions.between)) if conditions.between < _NEVER else _NEVER
        state.running[slot] = _Run(key, conditions.start, state.now + lasts)
        fleet = fleet.started(key)
    return fleet


def _rate(state: _State, conditions: Conditions) -> float:
    """How fast each start goes on: all that are starting share the cores."""
    starting = sum(run.began is None for run in state.running.values())
    return min(1.0, conditions.cores / starting) if starting else 1.0


def _next_event(state: _State, left: Mapping[str, float], conditions: Conditions) -> float:
    # The rate holds until the next event, as only an event changes how many are starting.
    rate = _rate(state, conditions)
    times = [at for at, _ in conditions.slots if at > state.now + _AT_ONCE]
    times += [at for at in (*state.closed.values(), *(at for at, _ in state.returning)) if at > state.now + _AT_ONCE]
    for run in state.running.values():
        if run.began is None:
            times += [run.taken, state.now + run.left / rate]
        else:
            times += [run.taken, run.began + conditions.takes(left[run.key])]
    return min(times, default=_NEVER)


def _pass_time(state: _State, until: float, conditions: Conditions) -> None:
    rate, passed = _rate(state, conditions), until - state.now
    state.busy += passed * len(state.running)
    state.now = until
    for run in state.running.values():
        if run.began is None:
            run.left -= passed * rate
            if run.left <= _AT_ONCE:
                run.began = until


def _ended(state: _State, fleet: Fleet, left: Mapping[str, float], conditions: Conditions) -> Fleet:
    for slot, run in list(state.running.items()):
        if run.began is not None and state.now >= run.began + conditions.takes(left[run.key]) - _AT_ONCE:
            del state.running[slot]
            fleet = fleet.done(run.key)
    return fleet


def _lose(state: _State, left: dict[str, float], conditions: Conditions) -> None:
    """Machines that are taken now, and slots that there are no more."""
    slots = _slots(state, conditions)
    for slot, run in list(state.running.items()):
        if slot < slots and run.taken > state.now + _AT_ONCE:
            continue
        del state.running[slot]
        state.interruptions += 1
        # Two delays: a slot may be back before the driver has noticed that its run is gone, or long after.
        state.closed[slot] = state.now + conditions.replaced
        state.returning.append((state.now + conditions.noticed, run.key))
        if run.began is not None:
            loop = state.now - run.began
            done = min(conditions.done(loop), left[run.key])
            saved = min(conditions.trained(loop), left[run.key])
            state.redone += max(0.0, done - saved)
            left[run.key] -= saved
