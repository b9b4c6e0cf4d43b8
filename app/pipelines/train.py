"""The stage of training: experts, dense baseline, or both as one fleet."""

from __future__ import annotations

from app.artifacts.store import Store
from app.config.schema import Config
from app.fleet.run_fleet import train_fleet
from app.lineage.runs import Made
from app.lineage.tasks import dense_task, expert_tasks, named


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
