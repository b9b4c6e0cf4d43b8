"""One model from several: the weighted average of their parameters (a "soup")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from app.core.errors import ConfigError
from app.models.causal import CausalLM


@torch.no_grad()
def average_models(models: Iterable[CausalLM], weights: Sequence[float]) -> CausalLM:
    """The model with parameters Σ_e w_e θ_e; summed in float64, so the order of the models changes nothing visible.

    models: taken one after the other, so that two are in memory at once, and beside them the sums, as large as two
    more; as many as weights. The first becomes the result. Raises ConfigError for models whose parameters differ in
    name or shape. Source: arXiv 2401.10440, where it is one of the ways to use the experts, after arXiv 2208.03306
    (Branch-Train-Merge).
    """
    result: CausalLM | None = None
    total: dict[str, torch.Tensor] = {}
    for model, weight in zip(models, weights, strict=True):
        # named_parameters gives a tied head once, so it is neither summed twice nor untied.
        parts: dict[str, torch.Tensor] = dict(model.named_parameters())
        if result is None:
            result = model
            total = {name: torch.zeros_like(part, dtype=torch.float64) for name, part in parts.items()}
        if difference := _difference(total, parts):
            raise ConfigError(
                f"models of different shapes cannot be averaged: they differ in {difference}; average experts that"
                " branched from one seed"
            )
        # One at a time: in float64 all of them together would be as large as two models more.
        for name, part in parts.items():
            total[name] += weight * part.double()
    if result is None:
        raise ConfigError("there is no model to average; name at least one")
    for name, parameter in result.named_parameters():
        parameter.copy_(total[name])
    return result


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    """The first parameter that only one of them has, or that has another shape; empty: none."""
    names = sorted({*one, *other})
    return next((name for name in names if _shape(one, name) != _shape(other, name)), "")


def _shape(parts: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    return parts[name].shape if name in parts else None
