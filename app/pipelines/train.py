"""Models trained as independent Ray Train runs: several at once where resources allow, the rest queued."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from app.artifacts.layout import RAY_RUNS
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import TrainingError
from app.core.records import JsonObject
from app.core.units import format_count, format_seconds
from app.pipelines.models import dense_task, expert_tasks, named
from app.pipelines.progress import ProgressBoard
from app.pipelines.ray_session import ray_session, training_slots
from app.pipelines.runs import Made
from app.training.fleet import Fleet, plan_fleet
from app.training.model_task import ModelTask, run_model_task

log = logging.getLogger(__name__)


def train_experts(config: Config, store: Store) -> Made:
    """Train the experts of the run that are not finished."""
    tasks = expert_tasks(config, store)
    train_fleet(config, tasks)
    return named(tasks)


def train_dense(config: Config, store: Store) -> Made:
    """Train the dense baseline unless it is finished."""
    tasks = [dense_task(config, store)]
    train_fleet(config, tasks)
    return named(tasks)


def train_all(config: Config, store: Store) -> Made:
    """Dense and experts as one fleet."""
    tasks = [dense_task(config, store), *expert_tasks(config, store)]
    train_fleet(config, tasks)
    return named(tasks)


def train_fleet(config: Config, tasks: Sequence[ModelTask], cpus: float | None = None) -> None:
    """Train every unfinished task, each on ``cpus`` cores (default: the experts'); returns when all are finished.

    A run that fails is started again up to ``training.max_failures`` times while the others go on.
    Raises TrainingError naming those given up, after everything else is done.
    """
    unique = {task.key: task for task in tasks}
    work = [(key, task.spec.budget_tokens, task.stage.is_complete) for key, task in unique.items()]
    fleet = plan_fleet(work, config.training.max_failures)
    if fleet.is_over:
        return
    started = time.monotonic()
    with ray_session(config.cluster):
        cpus = cpus or config.training.cpus_per_expert
        slots = training_slots(config.cluster, cpus, config.training.gpus_per_expert)
        states: dict[str, str] = {member.key: member.state for member in fleet.members}
        log.info("train: %d models, %d at once", sum(not done for *_, done in work), slots)
        with ProgressBoard(list(unique.values()), states), ThreadPoolExecutor(slots) as pool:
            fleet = _drive(config, unique, fleet, slots, cpus, pool, states)
    if lost := fleet.given_up():
        names = "; ".join(f"{unique[m.key].name} after {m.failures} failures: {m.reason}" for m in lost)
        raise TrainingError(f"not trained: {names}. The others are finished; run the same command again to retry")
    tokens = sum(task.spec.budget_tokens for task in unique.values())
    log.info("train: %s tokens in %s", format_count(tokens), format_seconds(time.monotonic() - started))


def _drive(
    config: Config,
    tasks: dict[str, ModelTask],
    fleet: Fleet,
    slots: int,
    cpus: float,
    pool: ThreadPoolExecutor,
    states: dict[str, str],
) -> Fleet:
    """Start what fits, wait for one to end, repeat until the fleet is over. ``states`` is kept for the board."""
    running: dict[Future[JsonObject], str] = {}
    while not fleet.is_over:
        for key in fleet.next_to_start(slots - len(running)):
            running[pool.submit(_run_on_ray, config, tasks[key], cpus)] = key
            fleet = fleet.started(key)
            states[key] = "running"
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            key = running.pop(future)
            error = future.exception()
            if error is None:
                fleet = fleet.done(key)
                log.info("train: %s done", _describe(tasks[key], future.result()))
            else:
                reason = _reason(error)
                fleet = fleet.failed(key, reason)
                log.warning("train: %s failed: %s", tasks[key].name, reason)
            states[key] = fleet.member(key).state
    return fleet


def _run_on_ray(config: Config, task: ModelTask, cpus: float) -> JsonObject:
    """One Ray Train run with one worker; what is trained and saved is decided by the task alone."""
    training = config.training
    resources = {"CPU": cpus}
    if training.gpus_per_expert:
        resources["GPU"] = training.gpus_per_expert
    trainer = TorchTrainer(
        _train_in_worker,
        train_loop_config={"task": task, "threads": max(1, int(cpus))},
        scaling_config=ScalingConfig(
            num_workers=1, use_gpu=bool(training.gpus_per_expert), resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=task.key,
            storage_path=task.store.folder(RAY_RUNS).uri,
            failure_config=FailureConfig(max_failures=0),  # the fleet counts and retries
        ),
    )
    result: JsonObject = trainer.fit().return_value
    return result


def _train_in_worker(loop_config: dict[str, Any]) -> JsonObject:
    torch.set_num_threads(loop_config["threads"])
    return run_model_task(loop_config["task"])


def _describe(task: ModelTask, counts: JsonObject) -> str:
    seconds, tokens = float(str(counts["training_seconds"])), int(str(counts["tokens_seen"]))
    return (
        f"{task.name}: {counts['steps']} steps, {format_count(tokens)} tokens, loss"
        f" {float(str(counts['final_loss'])):.3f}, {format_seconds(seconds)},"
        f" {format_count(tokens / max(seconds, 1e-9))} tokens/s"
    )


def _reason(error: BaseException) -> str:
    """The innermost cause's last line: Ray wraps a worker's exception in several of its own."""
    text = str(error).strip()
    for line in reversed(text.splitlines()):
        if "Error" in line or "app.core.errors" in line:
            return line.strip()
    return text.splitlines()[-1] if text else type(error).__name__
