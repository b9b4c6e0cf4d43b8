"""The overhead of Ray around the loop: the same model task with and without Ray, in turns, by CPU seconds per step."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import torch

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.records import JsonObject
from app.fleet.drive import drive
from app.fleet.fleet import plan_fleet
from app.fleet.machines import ray_machines
from app.fleet.ray_session import WORKER_ENVIRONMENT, ray_session
from app.fleet.worker import Assignment, train_in_worker
from app.lineage.lineage import Lineage
from app.training.hooks import StepMetrics
from app.training.model_task import ModelTask, run_model_task
from benchmarks import measure
from benchmarks.chaos_parts import EXPERTS, Run
from benchmarks.stages import UNTIL_TRAINING

_STEPS, _TOKENS_PER_STEP = 100, 4096
_OVERHEAD_TARGET = 0.03


class CpuPerStep:
    """A hook that measures the loop from its start to its end, in this process and in Ray's around it."""

    def __init__(self, place: str) -> None:
        self._place = Path(place)

    def start(self, step: int) -> None:
        """Begin."""
        self._step = step
        self._services = _services()
        self._wall, self._own, self._around = time.time(), time.process_time(), _cpu_seconds(self._services)

    def step(self, metrics: StepMetrics) -> None:
        """Nothing at each step, so that nothing is added to it."""
        self._steps = metrics.step - self._step

    def close(self) -> None:
        """Write what was measured."""
        measured = {
            "cpu_seconds_per_step": (time.process_time() - self._own) / self._steps,
            "services_cpu_seconds": _cpu_seconds(self._services) - self._around,
            "wall_seconds": time.time() - self._wall,
            "loop_started": self._wall,
        }
        self._place.write_text(json.dumps(measured))


def measure_overhead(folder: Path, pairs: int) -> JsonObject:
    """``pairs`` runs of each side in turns."""
    run = Run(
        folder / "overhead",
        f"training.tokens_per_step={_TOKENS_PER_STEP}",
        f"training.budget_tokens={EXPERTS * _STEPS * _TOKENS_PER_STEP}",
    )
    run.make(UNTIL_TRAINING)
    with_ray, without = [], []
    for number in range(pairs):
        without.append(_turn(run, number, "bare"))
        with_ray.append(_turn(run, number, "ray"))
        print(f"pair {number + 1} of {pairs}", file=sys.stderr, flush=True)
    found = measure.ratio(with_ray, without, "cpu_seconds_per_step")
    services = [measure.number(r, "services_cpu_seconds") / measure.number(r, "wall_seconds") for r in with_ray]
    return {
        "pairs": pairs,
        "cpu_seconds_per_step": {
            "with_ray": measure.medians(with_ray)["cpu_seconds_per_step"],
            "without": measure.medians(without)["cpu_seconds_per_step"],
        },
        "ray_overhead": measure.number(found, "ratio") - 1,
        "ray_overhead_interval": [measure.number(found, "low") - 1, measure.number(found, "high") - 1],
        "ray_overhead_target": f"<= {_OVERHEAD_TARGET}",
        "ray_services_cores": sorted(services)[len(services) // 2],
        "startup_seconds": {
            "with_ray": measure.medians(with_ray)["startup_seconds"],
            "without": measure.medians(without)["startup_seconds"],
        },
    }


def _turn(run: Run, number: int, side: str) -> JsonObject:
    """One run of one side in a new process; the task gets a key of its own, so that nothing is there already."""
    place = run.root / f"{side}-{number}.json"
    started = time.time()
    environment = {name: value for name, value in WORKER_ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(environment)  # the same allocator on both sides
    try:
        measure.run_side(
            f"benchmarks.fleet_overhead:{side}", {"settings": run.settings, "number": number, "place": str(place)}
        )
    finally:
        for name in environment:
            del os.environ[name]
    measured: JsonObject = json.loads(place.read_text())
    return {**measured, "startup_seconds": measure.number(measured, "loop_started") - started}


def bare(settings: list[str], number: int, place: str) -> JsonObject:
    """Without Ray, in this process."""
    torch.set_num_threads(1)
    return run_model_task(_task(settings, f"bare{number}"), more=[CpuPerStep(place)])


def ray(settings: list[str], number: int, place: str) -> JsonObject:
    """As ``jobs.train`` does it, on a Ray of its own."""
    config = load_config("demo", overrides=[*settings, "cluster.cpus=1"])
    task = _task(settings, f"ray{number}")
    folder = task.store.run(config.run.name)
    worker = partial(metered, place)
    with ray_session(config.cluster), ray_machines(config, folder, work=worker) as machines:
        fleet = drive(plan_fleet([(task.key, 1, False)], 0), {task.key: task}, machines, lambda _: None)
    return {"state": fleet.members[0].state}


def metered(place: str, assignment: Assignment) -> JsonObject:
    """What a worker does, measured."""
    return train_in_worker(assignment, [CpuPerStep(place)])


def _task(settings: list[str], mark: str) -> ModelTask:
    config = load_config("demo", overrides=settings)
    task = Lineage(config, Store(config.artifacts.root)).experts[0]
    key = f"{task.key}-{mark}"
    return replace(task, key=key, spec=replace(task.spec, key=key))


def _services() -> list[psutil.Process]:
    """Every other process of the Ray that runs this one: a worker's parent is the raylet, whose is the driver."""
    here = psutil.Process()
    parents = here.parents()
    raylet = next((process for process in parents if process.name() == "raylet"), None)
    if raylet is None:
        return []
    driver = raylet.parent() or raylet
    return [driver, *(process for process in driver.children(recursive=True) if process.pid != here.pid)]


def _cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
