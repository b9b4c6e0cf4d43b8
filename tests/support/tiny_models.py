"""Models small enough to train within a test, and ids to feed them."""

from __future__ import annotations

from dataclasses import replace

import torch

from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.registry import build_model

TINY = ModelShape("xglm", vocab_size=37, d_model=16, layers=2, heads=2, ffn=24, context=12)


def tiny_model(architecture: str = "xglm", seed: int = 3) -> CausalLM:
    """A two-layer model of ``TINY``'s sizes."""
    return build_model(replace(TINY, architecture=architecture), seed)


def some_rows(rows: int = 3, length: int = 9, vocab_size: int = TINY.vocab_size, seed: int = 0) -> torch.Tensor:
    """(rows, length) int64 ids that are not special."""
    return torch.randint(2, vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))
