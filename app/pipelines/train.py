"""The stage of training: experts, dense models, or both as one fleet."""

from __future__ import annotations

from collections.abc import Sequence

from app.fleet.run_fleet import train_fleet
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.tasks import named
from app.training.model_task import ModelTask


def train_experts(lineage: Lineage) -> Made:
    """Train the experts of the run that are not finished."""
    return _train(lineage, lineage.experts)


def train_dense(lineage: Lineage) -> Made:
    """Train the dense models that are not finished."""
    return _train(lineage, lineage.baselines)


def train_all(lineage: Lineage) -> Made:
    """Dense models and experts as one fleet."""
    return _train(lineage, [*lineage.baselines, *lineage.experts])


def _train(lineage: Lineage, tasks: Sequence[ModelTask]) -> Made:
    train_fleet(lineage.config, tasks, stops=lineage.stops)
    return named(tasks)
