"""A small ensemble with the demo's tokenizer: copies of the demo's seed, each moved a little its own way."""

from __future__ import annotations

import functools

import torch

from app.allocation.by_language import LanguageAllocator
from app.ensemble.rules import WeightingSettings
from app.lineage.inputs import seed_location
from app.models.causal import CausalLM
from app.models.load import load_model
from app.tokens.tokenizer import load_tokenizer
from serve.loading import LoadedEnsemble


@functools.cache
def demo_ensemble() -> LoadedEnsemble:
    """Two experts, German and English; a dense model beside them."""
    return LoadedEnsemble(
        singles=("dense",),
        models={"expert-00": _moved(1), "expert-01": _moved(2), "dense": _moved(3)},
        tokenizer=load_tokenizer(seed_location("builtin:demo")),
        allocator=LanguageAllocator(("expert-00", "expert-01"), (("de",), ("en",))),
        weighting=WeightingSettings("auto"),
        loaded_at=1_700_000_000,
    )


@torch.no_grad()
def _moved(number: int) -> CausalLM:
    model = load_model(seed_location("builtin:demo")).eval()
    generator = torch.Generator().manual_seed(number)
    for weight in model.parameters():
        weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return model
