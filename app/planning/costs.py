"""What a run costs, from numbers alone: memory, storage, GPU time, money."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.tokens.packing import token_dtype

# Whatever training.precision is: bf16 is autocast of the forward pass, weights and moments stay float32.
_FLOAT32_BYTES = 4
_ADAMW_MOMENTS = 2


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: dense bf16 peak in FLOPs per second, memory in bytes, prices of one for an hour."""

    name: str
    peak: float
    memory: float
    on_demand: float
    spot: float


def weights_bytes(parameters: int) -> int:
    """A finished model: float32 weights."""
    return _FLOAT32_BYTES * parameters


def checkpoint_bytes(parameters: int) -> int:
    """A checkpoint: weights and AdamW's moments."""
    return (1 + _ADAMW_MOMENTS) * weights_bytes(parameters)


def training_bytes(parameters: int) -> int:
    """What training holds in memory beside activations: a checkpoint's content and the gradients."""
    return checkpoint_bytes(parameters) + weights_bytes(parameters)


def sharded_training_bytes(parameters: int, workers: int, together: int) -> int:
    """The same for one of the workers over whom the state is cut (FSDP).

    together: weights that are whole, with their gradients, at a time.
    """
    return training_bytes(parameters) // workers + 2 * weights_bytes(together)


def token_bytes(tokens: int, vocabulary: int) -> int:
    """Stored tokens of this vocabulary."""
    return tokens * np.dtype(token_dtype(vocabulary)).itemsize


def gpu_seconds(flops: float, gpu: Gpu, utilisation: float) -> float:
    """Seconds one GPU needs. utilisation: share of the peak that the model's own FLOPs reach."""
    return flops / (gpu.peak * utilisation)


def slot_counts(models: int) -> list[int]:
    """1, 2, 4, 8, ... and the number of models: more slots than models stay empty."""
    return [*(2**power for power in range(models.bit_length()) if 2**power < models), models]


def money(gpu_hours: float, per_gpu_hour: float, wall_hours: float, head_per_hour: float) -> float:
    """GPUs for as long as they work, and the head for as long as the run takes: idle workers go."""
    return gpu_hours * per_gpu_hour + wall_hours * head_per_hour
