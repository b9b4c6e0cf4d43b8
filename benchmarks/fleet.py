"""What the fleet costs: its makespan on slots that come and go, and the overhead of Ray around the loop.

``python -m benchmarks.fleet --format json``. Elastic: eight experts whose steps last a fixed time (they sleep, so that
two cores feed any number of slots) start on one node; three are added, later two are killed. ``makespan_over_best`` is
the time they take over that of the best schedule on the same slots; ``idle_share`` is the share of slot time in which a
slot was free while an expert waited, ``compute_share`` the training that was kept over the slot time that its attempts
held: starts, saves, ends and what was lost with a node are the rest. Overhead: ``ray_overhead`` is what a step
costs more, in CPU seconds of the process that trains, in a Ray Train worker than without Ray; start-up apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stdout
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
from benchmarks.fleet_shares import Attempt, held_seconds, idle_share, mean_startup
from benchmarks.raylets import Raylets, with_token
from benchmarks.stages import UNTIL_TRAINING

LANGUAGES = ("de", "en", "es", "fr", "hi", "ja", "ru", "zh")
_TOKENS_PER_STEP = 512
_ADDED, _LOST = 3, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--parts", default="elastic,overhead", help="comma-separated")
    parser.add_argument("--experts", type=int, default=len(LANGUAGES), help="at most 8")
    parser.add_argument("--steps", type=int, default=120, help="of each expert")
    parser.add_argument("--seconds-per-step", type=float, default=1.0, help="at least 0.6")
    parser.add_argument("--pairs", type=int, default=9, help="of runs with and without Ray")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    with_token("benchmarks.fleet", argv)
    record: JsonObject = {"benchmark": "fleet"}
    with tempfile.TemporaryDirectory(prefix="xelm-fleet-") as folder, redirect_stdout(sys.stderr):
        if "elastic" in arguments.parts:
            record |= measure_elastic(Path(folder), arguments.experts, arguments.steps, arguments.seconds_per_step)
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


def measure_elastic(folder: Path, experts: int, steps: int, seconds_per_step: float) -> JsonObject:
    """Eight paced experts on one slot, then four, then two, against the best schedule."""
    run = Run(
        folder / "run",
        f"corpus.languages={','.join(LANGUAGES[:experts])}",
        f"allocation.k={experts}",
        f"training.tokens_per_step={_TOKENS_PER_STEP}",
        f"training.budget_tokens={experts * steps * _TOKENS_PER_STEP}",
        "training.checkpoint_every_steps=10",
    )
    run.make(UNTIL_TRAINING)
    work = experts * steps * seconds_per_step
    with Raylets(folder, 1) as raylets:
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
                timeline = _change_slots(raylets, began, add_after=work / 16, lose_after=work / 4)
                fleet = driving.result()
            makespan = time.time() - began
    startup, ending = _measured_overheads(timed, list(tasks.values()), [(began + at, count) for at, count in timeline])
    attempts = timed.runs(began)
    best = best_makespan([steps * seconds_per_step] * experts, startup + ending, timeline)
    return {
        "experts": experts,
        "experts_finished": sum(member.state == "done" for member in fleet.members),
        "seconds_each": steps * seconds_per_step,
        "slots": [[round(at, 1), count] for at, count in timeline],
        "runs_started": len(timed.starts),
        "attempts": [[round(start, 1), round(end, 1)] for _, start, end in sorted(attempts, key=itemgetter(1))],
        "elastic_startup_seconds": startup,
        "ending_seconds": ending,
        "makespan_seconds": makespan,
        "best_seconds": best,
        "makespan_over_best": makespan / best,
        "makespan_target": "<= 1.15",
        "idle_share": idle_share(timeline, attempts),
        "idle_target": "<= 0.05",
        "compute_share": work / held_seconds(timeline, attempts),
        "compute_target": ">= 0.85",
    }


def _change_slots(raylets: Raylets, began: float, add_after: float, lose_after: float) -> list[tuple[float, int]]:
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


def _measured_overheads(
    timed: Timed, tasks: Sequence[ModelTask], slots: Sequence[tuple[float, int]]
) -> tuple[float, float]:
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
