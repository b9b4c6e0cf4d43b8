"""The training loop: one model, its rows, its checkpoints. Knows nothing of Ray.

Batch i is a function of the run's seed and i, the schedule of the step, and the rest of the state is in the
checkpoint; so a run that is interrupted anywhere ends with the same weights, bit for bit on the same hardware.
"""

from __future__ import annotations

import fnmatch
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import nn

from app.core.errors import ConfigError, NonFiniteLoss, TrainingError
from app.core.records import IntArray
from app.models.causal import CausalLM
from app.models.loss import next_token_loss
from app.training.budget import steps_for
from app.training.hooks import Hook, StepMetrics, StopRequest, running
from app.training.parallel import Alone, Parallelism, Workers, kept_on, share, whole
from app.training.saving import Checkpoints, NoCheckpoints, Saver
from app.training.schedule import Schedule, learning_rate_factor
from app.training.state import Progress, capture_state, load_state

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOGGED_STEPS = 0.5


@dataclass(frozen=True)
class TrainingSpec:
    """Everything that decides the weights, and how often to save. Lengths and budgets in tokens.

    trained: patterns of names of parameters (``*`` and ``?``); the others are frozen: they have no gradient, no moments
    and no decay.
    """

    key: str
    run_seed: int
    budget_tokens: int
    sequence_length: int
    tokens_per_step: int
    micro_batch_rows: int
    learning_rate: float
    schedule: Schedule
    warmup_fraction: float
    final_learning_rate_fraction: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    clip_norm: float
    precision: Literal["auto", "fp32", "bf16"]
    activation_checkpointing: bool
    loss_chunk_tokens: int
    checkpoint_every_steps: int
    device: str = "auto"
    parallelism: Parallelism = "data"
    trained: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        """Raise ConfigError for what would train something else than it says."""
        if self.sequence_length < 2 or self.tokens_per_step < 1 or self.tokens_per_step % self.sequence_length:
            raise ConfigError(
                f"training.tokens_per_step {self.tokens_per_step} is not a multiple of training.sequence_length"
                f" {self.sequence_length} (at least 2 tokens)"
            )
        for name in ("micro_batch_rows", "loss_chunk_tokens", "checkpoint_every_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def num_steps(self) -> int:
        """Optimizer steps that come nearest to the budget."""
        return steps_for(self.budget_tokens, self.tokens_per_step)

    @property
    def rows_per_step(self) -> int:
        """Rows of ``sequence_length`` tokens per optimizer step."""
        return self.tokens_per_step // self.sequence_length


@dataclass(frozen=True)
class TrainingResult:
    """How a finished run ended; ``final_loss`` in nats per token of the last step.

    ``seconds``: this attempt's time; ``saving_seconds``: the part of it that training waited for its ``saves``
    checkpoints; ``save_seconds``: the last one's time from start to commit, None without any.
    """

    steps: int
    tokens_seen: int
    final_loss: float
    seconds: float
    saving_seconds: float
    saves: int
    save_seconds: float | None


class Rows(Protocol):
    """Training rows by number."""

    def rows(self, start: int, stop: int) -> IntArray:
        """Rows start..stop-1, (n, sequence_length + 1): each is its predictions and the token before the first."""

    def languages(self, start: int, stop: int) -> Sequence[str]:
        """The language of each of these rows: models may have parts of their own for one."""


def train(
    spec: TrainingSpec,
    model: CausalLM,
    rows: Rows,
    checkpoints: Checkpoints,
    hooks: Sequence[Hook] = (),
    stop: StopRequest | None = None,
    workers: Workers | None = None,
) -> TrainingResult:
    """Train ``model`` in place to the end of its budget, from its newest checkpoint if there is one.

    workers: those of this model, of which this process is one; without them it is alone. Raises NonFiniteLoss naming
    the step; Preempted when ``stop`` is asked for, after saving if there is time for it; StorageError when a checkpoint
    could not be saved for half a minute; LeaseLost when another attempt trains this model; TrainingError if the rows
    are longer than the model's context; ConfigError if a pattern of ``spec.trained`` names no parameter.
    """
    if model.context is not None and spec.sequence_length > model.context:
        raise TrainingError(
            f"training.sequence_length {spec.sequence_length} is longer than the model's context of {model.context}"
            " tokens; lower it or choose another seed"
        )
    stop, workers = stop or StopRequest(), workers or Alone(choose_device(spec.device))
    if spec.activation_checkpointing:
        model.use_activation_checkpointing()
    freeze(model, spec.trained)
    workers.place(model.train())
    optimizer = make_optimizer(spec, model)  # only now: sharding has put other tensors in the parameters' place
    progress = Progress(spec.key, 0, 0, math.nan)
    if (folder := workers.shared(checkpoints.latest)) is not None:
        progress = load_state(folder, spec.key, model, optimizer, workers)
        log.info("%s: resumed at step %d, row %d", spec.key, progress.step, progress.step * spec.rows_per_step)
    meter = _Meter(hooks, progress)
    saved = progress.step
    store = checkpoints if workers.rank == 0 else NoCheckpoints()  # all gather a state, one writes it
    with running(hooks, progress.step), same_sums(workers.device), Saver(store) as saver:
        while progress.step < spec.num_steps:
            rate, norm, loss = _step(spec, model, optimizer, rows, progress.step, workers)
            progress = Progress(spec.key, progress.step + 1, progress.tokens_seen + spec.tokens_per_step, loss)
            last = progress.step == spec.num_steps
            meter.step(progress, rate, norm, last)
            stopping = workers.stopping(stop) and not last  # after the last step nothing is left to save for later
            due = last or progress.step - saved >= spec.checkpoint_every_steps
            if due or (stopping and workers.shared(partial(_fits, saver, stop))):  # all or none: gathering takes all
                workers.shared(saver.wait)  # what it failed with ends all here; else the rest would wait below for ever
                saver.save(partial(capture_state, model, optimizer, progress, kept_on(workers)))
                saved = progress.step
            if stopping:
                workers.shared(saver.wait)
                stop.raise_preempted(progress.step, saved)
        workers.shared(saver.wait)
    seconds = time.monotonic() - meter.started
    return TrainingResult(
        steps=progress.step,
        tokens_seen=progress.tokens_seen,
        final_loss=progress.loss,
        seconds=seconds,
        saving_seconds=saver.stalled_seconds,
        saves=saver.saves,
        save_seconds=saver.last_seconds,
    )


def _fits(saver: Saver, stop: StopRequest) -> bool:
    return saver.fits(stop.seconds_left)


class _Meter:
    """Turns steps into metrics for the hooks, not more often than they are worth logging."""

    def __init__(self, hooks: Sequence[Hook], progress: Progress) -> None:
        self._hooks = hooks
        self.started = self._logged = time.monotonic()
        self._tokens = progress.tokens_seen

    def step(self, progress: Progress, rate: float, norm: float, last: bool) -> None:
        """Tell the hooks of this step if it is the last, or long enough after the one before."""
        now = time.monotonic()
        if now - self._logged < _SECONDS_BETWEEN_LOGGED_STEPS and not last:
            return
        # The last step is told of however soon it comes, even within one tick of the clock.
        speed = (progress.tokens_seen - self._tokens) / max(now - self._logged, 1e-9)
        metrics = StepMetrics(
            step=progress.step,
            tokens_seen=progress.tokens_seen,
            loss=progress.loss,
            learning_rate=rate,
            gradient_norm=norm,
            tokens_per_second=speed,
            seconds=now - self.started,
            time=time.time(),
        )
        for hook in self._hooks:
            hook.step(metrics)
        self._logged, self._tokens = now, progress.tokens_seen


def freeze(model: nn.Module, trained: Sequence[str]) -> None:
    """Leave only the parameters to be trained that a pattern names. Raises ConfigError where one names none."""
    names = [name for name, _ in model.named_parameters()]
    for pattern in trained:
        if not fnmatch.filter(names, pattern):
            raise ConfigError(f"no parameter is named {pattern}; the model has {', '.join(names[:8])}, ...")
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in trained))


def make_optimizer(spec: TrainingSpec, model: nn.Module) -> torch.optim.AdamW:
    """AdamW on what is trained, with decoupled decay on matrices only (embeddings included, biases and norms not)."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if weight.ndim >= 2]
    vectors = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": spec.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=spec.learning_rate, betas=(spec.beta1, spec.beta2), eps=spec.epsilon, fused=True
    )


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def device_name(name: str) -> str:
    """What a model is trained on: the GPU's product name, or ``cpu``."""
    device = choose_device(name)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(
    precision: str, device: torch.device, keep_casts: bool = True
) -> Callable[[], AbstractContextManager[object]]:
    """Context of the forward pass. ``auto`` is bf16 on GPUs that have it and float32 on CPUs; weights stay float32.

    keep_casts: whether a weight in bf16 is kept to the end of the pass; where weights are sharded that would be all.
    """
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported())
    return (lambda: torch.autocast(device.type, torch.bfloat16, cache_enabled=keep_casts)) if bf16 else nullcontext


@contextmanager
def same_sums(device: torch.device) -> Iterator[None]:
    """On a GPU, choose kernels that add in the same order every time; on a CPU they do so anyway.

    Without it the backward pass of fused attention adds with atomics and two runs differ in their last bits. cuBLAS
    asks for ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` in the process's environment, and warns where it is missing.
    """
    if device.type != "cuda":
        yield
        return
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    switches: Any = torch.utils.deterministic
    filled = switches.fill_uninitialized_memory
    # A warning, not an error: an operation without such a kernel would end the training for its last bits.
    torch.use_deterministic_algorithms(True, warn_only=True)
    switches.fill_uninitialized_memory = False  # every tensor is written before it is read
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        switches.fill_uninitialized_memory = filled


def _step(
    spec: TrainingSpec,
    model: CausalLM,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    step: int,
    workers: Workers,
) -> tuple[float, float, float]:
    """One optimizer step, summed over micro-batches and workers. Returns learning rate, gradient norm and mean loss."""
    factor = learning_rate_factor(
        spec.schedule, step, spec.num_steps, spec.warmup_fraction, spec.final_learning_rate_fraction
    )
    for group in optimizer.param_groups:
        group["lr"] = spec.learning_rate * factor
    # Added up where it is computed: to look at a number on a GPU waits for all that is queued there.
    total = torch.zeros((), device=workers.device)
    precision = autocast(spec.precision, workers.device, keep_casts=spec.parallelism == "data")
    for micro, languages, weight in _micro_batches(spec, rows, step, workers):
        with precision():
            loss = next_token_loss(model, micro.to(workers.device), spec.loss_chunk_tokens, languages) * weight
        loss.backward()  # type: ignore[no-untyped-call]
        # Detached, or the graph of every micro-batch would stay in memory to the end of the step.
        total += loss.detach()
    total = workers.add_up(model, total)
    norm = whole(nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm))
    mean = float(total)
    # Before the weights change: a step that is no number leaves them, and the checkpoints, as they were.
    if not math.isfinite(mean) or not math.isfinite(float(norm)):
        raise NonFiniteLoss(
            f"model {spec.key}: loss {mean}, gradient norm {float(norm)} at step {step + 1};"
            " lower training.learning_rate, add warm-up, or use training.precision=fp32"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return spec.learning_rate * factor, float(norm), mean


def _micro_batches(
    spec: TrainingSpec, rows: Rows, step: int, workers: Workers
) -> Iterator[tuple[torch.Tensor, Sequence[str], float]]:
    """This worker's rows of a step, each part with its rows' languages and its share of the step's mean loss.

    Every worker gets the same number of parts, if need be of padding that counts nothing: where a model is sharded, a
    layer is put together by all workers or by none.
    """
    first, (start, stop) = step * spec.rows_per_step, share(spec.rows_per_step, workers.rank, workers.count)
    mine = torch.from_numpy(rows.rows(first + start, first + stop))
    languages = rows.languages(first + start, first + stop)
    # torch.split makes one empty part of no rows; its mean loss would be 0 / 0.
    parts = [part for part in torch.split(mine, spec.micro_batch_rows) if len(part)]
    for number, part in enumerate(parts):
        begin = number * spec.micro_batch_rows
        yield part, languages[begin : begin + len(part)], len(part) / spec.rows_per_step
    largest_share = math.ceil(spec.rows_per_step / workers.count)
    for _ in range(math.ceil(largest_share / spec.micro_batch_rows) - len(parts)):
        # The language is that of a real row: a model may have parts for those it trains on and no others.
        yield torch.zeros(1, spec.sequence_length + 1, dtype=torch.int64), rows.languages(first, first + 1), 0.0
