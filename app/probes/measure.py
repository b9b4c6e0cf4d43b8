"""What one language does to the seed: a vector for each kind of probe. Nothing is kept of the models."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from app.core.records import FloatArray, IntArray
from app.models.causal import CausalLM
from app.models.loss import next_token_loss

_FEED_FORWARD = re.compile(r"(fc1|fc2|up_proj|down_proj|gate_proj|c_fc|c_proj|dense_h_to_4h|dense_4h_to_h)\.weight$")
# GPT-2 names a matrix of attention c_proj as well, so the path must be looked at too.
_ATTENTION = re.compile(r"attn|attention")
LAST_LAYERS = 3
"""Layers whose feed-forward weights are compared (arXiv 2506.12388)."""


def deviation(before: CausalLM, after: CausalLM) -> FloatArray:
    """Change of the feed-forward weight matrices of the last layers, one after the other, float32.

    Source: DMoE, arXiv 2506.12388: after a short training on one language alone.
    """
    layers = zip(before.layers[-LAST_LAYERS:], after.layers[-LAST_LAYERS:], strict=True)
    found: FloatArray = torch.cat([_change(*pair) for pair in layers]).cpu().numpy()
    return found


def layer_deviation(before: CausalLM, after: CausalLM) -> FloatArray:
    """(L,) Euclidean norm of the change of each layer's feed-forward weight matrices, float64 (as ``deviation``)."""
    layers = zip(before.layers, after.layers, strict=True)
    return np.array([_change(*pair).norm().item() for pair in layers])


def _change(before: nn.Module, after: nn.Module) -> torch.Tensor:
    """Of one layer's feed-forward weight matrices, one after the other, float32; biases are not among them."""
    trained = dict(after.named_parameters())
    parts = [
        (trained[name] - weight).detach().float().flatten()
        for name, weight in before.named_parameters()
        if _FEED_FORWARD.search(name) and not _ATTENTION.search(name)
    ]
    assert parts, "an architecture whose feed-forward matrices have other names: add them to _FEED_FORWARD"
    return torch.cat(parts)


def mean_gradient(model: CausalLM, rows: IntArray, chunk_tokens: int, at_once: int) -> FloatArray:
    """Mean gradient of the loss over rows (n, T + 1), of the layers' parameters, float32 (GradSim, arXiv 2310.15269).

    at_once: rows per pass.
    """
    model.zero_grad()
    for start in range(0, len(rows), at_once):
        part = _on(model, rows[start : start + at_once])
        # The loss is a mean over its own rows, so a shorter last pass must count for less; gradients add up.
        (next_token_loss(model, part, chunk_tokens) * (len(part) / len(rows))).backward()  # type: ignore[no-untyped-call]
    gradients = [weight.grad for layer in model.layers for weight in layer.parameters() if weight.grad is not None]
    found: FloatArray = torch.cat([gradient.float().flatten() for gradient in gradients]).cpu().numpy()
    model.zero_grad()
    return found


@torch.inference_mode()
def mean_representation(model: CausalLM, rows: IntArray, at_once: int) -> FloatArray:
    """(D,) mean final hidden state over all tokens of rows (n, T + 1): a language's place among the others."""
    total: torch.Tensor | None = None
    for start in range(0, len(rows), at_once):
        # The last token of a row is a target only, here as in training.
        part = _on(model, rows[start : start + at_once, :-1])
        # (batch, time, D) -> (D,); float64, since it is added up over all tokens of all rows.
        summed = model.hidden(part).double().sum(dim=(0, 1))
        total = summed if total is None else total + summed
    assert total is not None
    found: FloatArray = (total / (rows.shape[0] * (rows.shape[1] - 1))).cpu().numpy()
    return found


@torch.inference_mode()
def losses(model: CausalLM, rows: Mapping[str, IntArray], chunk_tokens: int, at_once: int) -> dict[str, float]:
    """Mean loss in nats per token on the rows of each language. at_once: rows per pass."""
    return {lang: _loss(model, found, chunk_tokens, at_once) for lang, found in rows.items()}


def _loss(model: CausalLM, rows: IntArray, chunk_tokens: int, at_once: int) -> float:
    parts = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    # The loss is a mean over its own rows, so a shorter last pass must count for less.
    return sum(float(next_token_loss(model, _on(model, part), chunk_tokens)) * len(part) for part in parts) / len(rows)


def _on(model: CausalLM, rows: IntArray) -> torch.Tensor:
    return torch.from_numpy(rows.astype(np.int64)).to(model.head.device)


def trained_copy(model: CausalLM, train: Callable[[CausalLM], object]) -> CausalLM:
    """A copy of the model after ``train``; the model itself stays as it is."""
    other = copy.deepcopy(model)
    train(other)
    return other.eval()
