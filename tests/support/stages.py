"""Stages of a run in one process and on one Ray: what a test needs before it begins, without a job's start for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.pipelines.allocate import make_allocation
from app.pipelines.ray_session import ray_session
from app.pipelines.runs import Made, record
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.pipelines.train import train_experts

Stage = Callable[[Config, Store], Made]

UNTIL_TRAINING: tuple[Stage, ...] = (make_shards, make_seed, make_tokens, make_allocation)
UNTIL_EXPERTS: tuple[Stage, ...] = (*UNTIL_TRAINING, train_experts)


def make(root: Path, overrides: Sequence[str], stages: Sequence[Stage] = UNTIL_TRAINING) -> None:
    """Make these stages of the demo's preset with ``overrides`` under ``root``."""
    config, store = load_config("demo", overrides=[*overrides, f"artifacts.root={root}"]), Store(str(root))
    with ray_session(config.cluster):
        for stage in stages:
            record(config, store, stage(config, store))
