"""Stages of a run in one process and on one Ray: what benchmarks and tests need first, without a start for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.artifacts.store import Store
from app.config.load import load_config
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made, record
from app.pipelines.allocate import make_allocation
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.pipelines.train import train_experts

Stage = Callable[[Lineage], Made]

UNTIL_TRAINING: tuple[Stage, ...] = (make_shards, make_seed, make_tokens, make_allocation)
UNTIL_EXPERTS: tuple[Stage, ...] = (*UNTIL_TRAINING, train_experts)


def make(overrides: Sequence[str], stages: Sequence[Stage]) -> None:
    """Make these stages of the demo's preset with ``overrides``, ``artifacts.root`` among them."""
    config = load_config("demo", overrides=overrides)
    lineage = Lineage(config, Store(config.artifacts.root))
    with ray_session(config.cluster):
        for stage in stages:
            record(lineage, stage(lineage))
