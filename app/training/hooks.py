"""What happens beside the loop: metrics to a file, to TensorBoard; a polite stop."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.core.errors import Preempted

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


@dataclass(frozen=True)
class StepMetrics:
    """One optimizer step. ``loss`` in nats per token, ``seconds`` since this attempt started, ``time`` Unix."""

    step: int
    tokens_seen: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds: float
    time: float


class Hook(Protocol):
    """Called by the loop: once at the start with the step resumed from, then with each logged step, then closed."""

    def start(self, step: int) -> None:
        """Training continues after ``step`` finished steps."""

    def step(self, metrics: StepMetrics) -> None:
        """One step is done."""

    def close(self) -> None:
        """Training has ended, by success or failure."""


class MetricsFile:
    """Appends one JSON line per logged step; on resume, lines beyond the resumed step are dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self, step: int) -> None:
        """Keep only what the resumed state has seen."""
        rows = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= step]
        partial = self._path.with_suffix(".tmp")
        partial.write_text("".join(f"{row}\n" for row in kept))
        partial.replace(self._path)

    def step(self, metrics: StepMetrics) -> None:
        """Append one line."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(metrics)) + "\n")

    def close(self) -> None:
        """Nothing is held open."""


class TensorBoard:
    """Loss, learning rate, gradient norm and speed against the step, as TensorBoard event files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Open the event file; events beyond the resumed step are purged by TensorBoard itself."""
        from tensorboardX import (
            SummaryWriter,  # imported late: training without it must work on a bare machine
        )

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def step(self, metrics: StepMetrics) -> None:
        """Add the scalars of one step."""
        assert self._writer is not None
        for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second"):
            self._writer.add_scalar(f"train/{name}", getattr(metrics, name), metrics.step)
        self._writer.add_scalar("train/loss_by_tokens", metrics.loss, metrics.tokens_seen)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()


class StopRequest:
    """Set from another thread or a signal handler; the loop then saves and raises Preempted."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._reason = ""

    def ask(self, reason: str) -> None:
        """Ask the loop to save and stop at the next step boundary."""
        self._reason = reason
        self._asked.set()

    @property
    def is_asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def raise_preempted(self, step: int) -> None:
        """Raise Preempted, saying why and where training stopped."""
        raise Preempted(f"stopped after step {step}: {self._reason}; run the same command again to continue")


@contextmanager
def running(hooks: Sequence[Hook], step: int) -> Iterator[None]:
    """Start the hooks and close all of them at the end, whatever happened."""
    with ExitStack() as opened:
        for hook in hooks:
            opened.callback(hook.close)
            hook.start(step)
        yield
