"""Processes that train one model together, and what they are asked to do. Importable by name: they are spawned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import Store
from app.core.errors import LeaseLost, XelmError
from app.core.records import IntArray
from app.training import loop
from app.training.hooks import StopRequest
from app.training.loop import TrainingSpec, train
from app.training.parallel import gathered, open_workers
from tests.support.tiny_models import tiny_model
from tests.support.tiny_training import Counting, Recorder

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Order:
    """One run of the loop. ``stop_at``, ``fail_at``: by rank, after which step to ask for a stop or to fail."""

    spec: TrainingSpec
    root: str
    architecture: Literal["xglm", "llama"] = "xglm"
    seed: int = 3
    stop_at: Mapping[int, int] = field(default_factory=dict)
    fail_at: Mapping[int, int] = field(default_factory=dict)
    lose_lease: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one worker saw: rows read, steps logged, how it ended, and on the first one the whole weights."""

    rows: list[IntArray]
    losses: list[float]
    norms: list[float]
    started: list[int]
    error: str
    weights: Weights


class _Kept(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[IntArray] = []

    def rows(self, start: int, stop: int) -> IntArray:
        """Rows start..stop-1."""
        self.seen.append(super().rows(start, stop))
        return self.seen[-1]


class _Robbed(ModelCheckpoints):
    """Another attempt takes the lease before anything is saved."""

    def check_lease(self, what: str) -> None:
        """Refuse."""
        raise LeaseLost(f"another attempt trains this; {what}")


def carry_out(order: Order) -> Outcome:
    """Train as ordered, in this process as one of its group's workers or alone."""
    loop._SECONDS_BETWEEN_LOGGED_STEPS = 0.0
    workers = open_workers(order.spec.parallelism, torch.device("cpu"))
    kind = _Robbed if order.lose_lease else ModelCheckpoints
    checkpoints = kind(Store(order.root).stage("model", "m"), 2)
    workers.shared(checkpoints.claim)
    stop, rows = StopRequest(), _Kept()
    model = tiny_model(order.architecture, order.seed)
    recorder = Recorder(order.stop_at.get(workers.rank, -1), stop, order.fail_at.get(workers.rank, -1))
    error = ""
    try:
        train(order.spec, model, rows, checkpoints, [recorder], stop, workers)
    except (XelmError, RuntimeError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    made = gathered(model, workers, lambda: tiny_model(order.architecture))
    weights = {name: weight.detach().numpy() for name, weight in made.named_parameters()} if not workers.rank else {}
    losses, norms = [m.loss for m in recorder.metrics], [m.gradient_norm for m in recorder.metrics]
    return Outcome(rows.seen, losses, norms, recorder.started, error, weights)


class Team:
    """Processes of one gloo group."""

    def __init__(self, pools: list[ProcessPoolExecutor]) -> None:
        self._pools = pools

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What the function returns in each of them, by rank."""
        return [future.result(timeout=600) for future in [pool.submit(function, *arguments) for pool in self._pools]]


@contextmanager
def team(count: int, meeting_point: Path) -> Iterator[Team]:
    """Spawn ``count`` processes that find each other through a file and talk over the loopback."""
    with ExitStack() as stack:
        context = get_context("spawn")
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, context, _join, (rank, count, str(meeting_point))))
            for rank in range(count)
        ]
        yield Team(pools)


def _join(rank: int, count: int, meeting_point: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=count)
