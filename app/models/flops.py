"""Floating-point operations of training, from the model's shape."""

from __future__ import annotations


def training_flops_per_token(parameters: int, layers: int, width: int, sequence_length: int) -> int:
    """Forward and backward FLOPs per token: 6 per weight, and 6 · layers · width · length for causal attention.

    The attention term counts the lower triangle only (half of 12 · layers · width · length; arXiv 2204.02311, B).
    ``parameters`` includes a tied head once: its use as the output projection is a matrix product, the embedding
    look-up is not.
    """
    return 6 * parameters + 6 * layers * width * sequence_length
