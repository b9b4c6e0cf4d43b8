"""Models trained as independent Ray Train runs: several at once where resources allow, the rest queued."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from app.artifacts.layout import RAY_RUNS
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import Preempted, TrainingError, XelmError
from app.core.records import JsonObject
from app.core.units import format_count, format_seconds
from app.pipelines.drive import drive
from app.pipelines.models import dense_task, expert_tasks, named
from app.pipelines.progress import ProgressBoard
from app.pipelines.ray_session import ray_session, training_slots
from app.pipelines.runs import Made
from app.training.fleet import plan_fleet
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
        cores = cpus or config.training.cpus_per_expert
        slots = partial(training_slots, config.cluster, cores, config.training.gpus_per_expert)
        log.info("train: %d models, %d at once", sum(not done for *_, done in work), slots())
        with ProgressBoard(list(unique.values()), fleet) as board, ThreadPoolExecutor(len(unique)) as pool:
            fleet = drive(fleet, unique, slots, lambda task: pool.submit(_run_on_ray, config, cores, task), board.show)
    if lost := fleet.given_up():
        names = "; ".join(f"{unique[m.key].name} after {m.failures} failures: {m.reason}" for m in lost)
        raise TrainingError(f"not trained: {names}. The others are finished; run the same command again to retry")
    tokens = sum(task.spec.budget_tokens for task in unique.values())
    log.info("train: %s tokens in %s", format_count(tokens), format_seconds(time.monotonic() - started))


def _run_on_ray(config: Config, cpus: float, task: ModelTask) -> JsonObject:
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
    """The finished model's counts, or ``preempted`` or ``failed`` with the reason: Ray would wrap an error."""
    torch.set_num_threads(loop_config["threads"])
    try:
        return run_model_task(loop_config["task"])
    except Preempted as error:
        return {"preempted": str(error)}
    except XelmError as error:
        return {"failed": str(error)}
