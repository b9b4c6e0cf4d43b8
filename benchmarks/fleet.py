"""What the fleet costs: its makespan on slots that come and go, and the overhead of Ray around the loop.

``python -m benchmarks.fleet --format json``. Elastic: eight experts whose steps last a fixed time (they sleep, so that
two cores feed any number of slots) start on one node; three are added, later two are killed. ``makespan_over_best`` is
the time they take over that of the best schedule on the same slots; ``idle_share`` is the share of slot time in which a
slot was free while an expert waited, ``compute_share`` the training that was kept over the slot time that its attempts
held: starts, saves, ends and what was lost with a node are the rest. Steady: the same experts on as many slots as there
are cores, from the first to the last; its figures are under ``steady``. Overhead: ``ray_overhead`` is what a step costs
more, in CPU seconds of the process that trains, in a Ray Train worker than without Ray; start-up apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import mean

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.records import JsonObject
from app.fleet.control import metrics_rows
from app.fleet.drive import Machines, drive
from app.fleet.fleet import plan_fleet
from app.fleet.machines import ray_machines
from app.fleet.ray_session import ray_session
from app.fleet.worker import Assignment, train_in_worker
from app.lineage.lineage import Lineage
from app.training.hooks import StepMetrics
from app.training.model_task import ModelTask
from benchmarks.chaos_parts import Run
from benchmarks.fleet_overhead import measure_overhead
from benchmarks.fleet_schedule import best_makespan
from benchmarks.fleet_shares import Attempt, Slots, held_seconds, idle_share, mean_startup
from benchmarks.raylets import Raylets, with_token
from benchmarks.stages import UNTIL_TRAINING

LANGUAGES = ("de", "en", "es", "fr", "hi", "ja", "ru", "zh")
_TOKENS_PER_STEP = 512
_ADDED, _LOST = 3, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--parts", default="elastic,steady,overhead", help="comma-separated")
    parser.add_argument("--experts", type=int, default=len(LANGUAGES), help="at most 8")
    parser.add_argument("--steps", type=int, default=120, help="of each expert")
    parser.add_argument("--seconds-per-step", type=float, default=1.0, help="at least 0.6")
    parser.add_argument("--pairs", type=int, default=9, help="of runs with and without Ray")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    with_token("benchmarks.fleet", argv)
    record: JsonObject = {"benchmark": "fleet", "cores": os.cpu_count()}
    of_each = (arguments.experts, arguments.steps, arguments.seconds_per_step)
    with tempfile.TemporaryDirectory(prefix="xelm-fleet-") as folder, redirect_stdout(sys.stderr):
        if "elastic" in arguments.parts:
            record |= measure_elastic(Path(folder, "elastic"), *of_each)
        if "steady" in arguments.parts:
            record["steady"] = measure_steady(Path(folder, "steady"), *of_each)
        if "overhead" in arguments.parts:
            record |= measure_overhead(Path(folder), arguments.pairs)
    print(json.dumps(record, indent=None if arguments.format == "json" else 1))
    return 0


class Pace:
    """A hook that makes every step last so long; the loop tells hooks of steps that are half a second apart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def start(self, step: int) -> None:
        """For the first step, which could otherwise be over too soon to be told of."""
        time.sleep(self._seconds)
        self._until = time.monotonic() + self._seconds

    def step(self, metrics: StepMetrics) -> None:
        """Wait for the end of the time that the next step has."""
        time.sleep(max(0.0, self._until - time.monotonic()))
        self._until = time.monotonic() + self._seconds

    def close(self) -> None:
        """Nothing is held."""


def paced(seconds: float, assignment: Assignment) -> JsonObject:
    """What a worker does, at a fixed pace."""
    return train_in_worker(assignment, [Pace(seconds)])


class Timed:
    """Machines that note when runs are started and when they end."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self.starts: list[tuple[str, float]] = []
        self.ends: list[tuple[str, float]] = []
        self.slots, self.saved_step, self.taken_by = machines.slots, machines.saved_step, machines.taken_by
        self.is_stopping, self.ask_for = machines.is_stopping, machines.ask_for
        self.shortage = machines.shortage

    def runs(self, since: float) -> list[Attempt]:
        """Every attempt that has ended, in seconds since then: a member's starts and ends come in turn."""
        ends = {key: sorted(at for other, at in self.ends if other == key) for key, _ in self.starts}
        return [(key, at - since, ends[key].pop(0) - since) for key, at in self.starts]

    def start(self, task: ModelTask) -> Future[JsonObject]:
        """See Machines."""
        self.starts.append((task.key, time.time()))
        future = self._machines.start(task)
        future.add_done_callback(lambda _: self.ends.append((task.key, time.time())))
        return future


@dataclass(frozen=True)
class Trained:
    """A fleet that has ended; times are seconds from its begin. slots: (since when, how many)."""

    finished: int
    slots: Slots
    attempts: list[Attempt]
    startup_seconds: float
    ending_seconds: float
    makespan_seconds: float


def measure_elastic(folder: Path, experts: int, steps: int, seconds_per_step: float) -> JsonObject:
    """Eight paced experts on one slot, then four, then two, against the best schedule."""
    work = experts * steps * seconds_per_step
    change = partial(_change_slots, add_after=work / 16, lose_after=work / 4)
    fleet = _train(folder, experts, steps, seconds_per_step, 1, change)
    overhead = fleet.startup_seconds + fleet.ending_seconds
    best = best_makespan([steps * seconds_per_step] * experts, overhead, fleet.slots)
    return {
        "experts": experts,
        "seconds_each": steps * seconds_per_step,
        **_shares(fleet, work),
        "best_seconds": best,
        "makespan_over_best": fleet.makespan_seconds / best,
        "makespan_target": "<= 1.15",
    }


def measure_steady(folder: Path, experts: int, steps: int, seconds_per_step: float) -> JsonObject:
    """The same experts on one slot for each core."""
    slots = os.cpu_count() or 1
    return _shares(
        _train(folder, experts, steps, seconds_per_step, slots, lambda *_: [(0.0, slots)]),
        experts * steps * seconds_per_step,
    )


def _shares(fleet: Trained, work: float) -> JsonObject:
    """What became of the slots' time. work: seconds of training that were to do."""
    return {
        "experts_finished": fleet.finished,
        "slots": [[round(at, 1), count] for at, count in fleet.slots],
        "attempts": [[round(start, 1), round(end, 1)] for _, start, end in sorted(fleet.attempts, key=itemgetter(1))],
        "startup_seconds": fleet.startup_seconds,
        "ending_seconds": fleet.ending_seconds,
        "makespan_seconds": fleet.makespan_seconds,
        "idle_share": idle_share(fleet.slots, fleet.attempts),
        "idle_target": "<= 0.05",
        "compute_share": work / held_seconds(fleet.slots, fleet.attempts),
        "compute_target": ">= 0.85",
    }


def _train(
    folder: Path,
    experts: int,
    steps: int,
    seconds_per_step: float,
    nodes: int,
    change: Callable[[Raylets, float], Slots],
) -> Trained:
    """Train paced experts on so many nodes. change: changes the nodes, from a Unix time on; returns their numbers."""
    run = Run(
        folder / "run",
        f"corpus.languages={','.join(LANGUAGES[:experts])}",
        f"allocation.k={experts}",
        f"training.tokens_per_step={_TOKENS_PER_STEP}",
        f"training.budget_tokens={experts * steps * _TOKENS_PER_STEP}",
        "training.checkpoint_every_steps=10",
    )
    run.make(UNTIL_TRAINING)
    with Raylets(folder, nodes) as raylets:
        config = load_config("demo", overrides=[*run.settings, f"cluster.address={raylets.address}"])
        tasks = {task.key: task for task in Lineage(config, Store(config.artifacts.root)).experts}
        plan = plan_fleet([(key, task.spec.budget_tokens, False) for key, task in tasks.items()], max_failures=5)
        folder_of_run = Store(config.artifacts.root).run(config.run.name)
        worker = partial(paced, seconds_per_step)
        with ray_session(config.cluster), ray_machines(config, folder_of_run, work=worker) as machines:
            timed = Timed(machines)
            began = time.time()
            with ThreadPoolExecutor(1) as pool:  # the main thread changes the cluster: Ray sets signal handlers then
                driving = pool.submit(drive, plan, tasks, timed, lambda _: None)
                slots = change(raylets, began)
                fleet = driving.result()
            makespan = time.time() - began
    startup, ending = _measured_overheads(timed, list(tasks.values()), [(began + at, count) for at, count in slots])
    finished = sum(member.state == "done" for member in fleet.members)
    return Trained(finished, slots, timed.runs(began), startup, ending, makespan)


def _change_slots(raylets: Raylets, began: float, add_after: float, lose_after: float) -> Slots:
    """Add nodes and kill nodes at their times; since when, after ``began``, there were how many slots."""
    timeline = [(0.0, 1)]
    time.sleep(max(0.0, began + add_after - time.time()))
    for _ in range(_ADDED):
        raylets.add()
        timeline.append((time.time() - began, timeline[-1][1] + 1))
    time.sleep(max(0.0, began + lose_after - time.time()))
    for _ in range(_LOST):
        timeline.append((time.time() - began, timeline[-1][1] - 1))
        raylets.kill_newest()
    return timeline


def _measured_overheads(timed: Timed, tasks: Sequence[ModelTask], slots: Slots) -> tuple[float, float]:
    """Means of the seconds from the start of a run to its loop, and from its last step to the free slot.

    slots: (Unix time from which on, how many).
    """
    startups, endings = [], []
    for task in tasks:
        rows = metrics_rows(task.stage)
        starts = sorted(at for key, at in timed.starts if key == task.key)
        loops = sorted({round(float(str(row["time"])) - float(str(row["seconds"])), 1) for row in rows})
        startups.append((starts[0], loops[0]))
        endings.append(max(at for key, at in timed.ends if key == task.key) - float(str(rows[-1]["time"])))
    return mean_startup(startups, slots), mean(endings)


if __name__ == "__main__":
    sys.exit(main())
