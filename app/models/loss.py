"""Cross-entropy through the output projection, a chunk of tokens at a time.

With a vocabulary of 256,008 the float32 logits of one row of 2,048 tokens are 2.1 GB. Here at most ``chunk_tokens``
rows of logits exist at once: the gradient of each chunk is computed in the forward pass while its logits are at
hand, so nothing is computed twice.

Shape legend: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from app.models.causal import CausalLM

IGNORE = -100


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, head_VD: torch.Tensor, targets_N: torch.Tensor, chunk_tokens: int
    ) -> torch.Tensor:
        head = head_VD.to(hidden_ND.dtype)
        needs_head = head_VD.requires_grad
        grad_hidden = torch.empty_like(hidden_ND)
        grad_head = torch.zeros_like(head_VD, dtype=torch.float32) if needs_head else None
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        for start in range(0, hidden_ND.shape[0], chunk_tokens):
            part = slice(start, start + chunk_tokens)
            logits, targets = (hidden_ND[part] @ head.T).float(), targets_N[part]
            kept = targets != IGNORE
            safe = targets.masked_fill(~kept, 0)
            normaliser = torch.logsumexp(logits, dim=-1)
            chosen = logits.gather(-1, safe[:, None]).squeeze(-1)
            total += ((normaliser - chosen) * kept).sum()
            gradient = logits.sub_(normaliser[:, None]).exp_()
            gradient.scatter_add_(-1, safe[:, None], torch.full_like(safe[:, None], -1, dtype=gradient.dtype))
            if not bool(kept.all()):
                gradient *= kept[:, None]
            narrow = gradient.to(hidden_ND.dtype)
            grad_hidden[part] = narrow @ head
            if grad_head is not None:
                grad_head += narrow.T @ hidden_ND[part]
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.head_dtype = head_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        scale = outputs[0]
        head = None if grad_head is None else (grad_head * scale).to(ctx.head_dtype)
        return grad_hidden * scale.to(grad_hidden.dtype), head, None, None


def cross_entropy_sum(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, chunk_tokens: int
) -> torch.Tensor:
    """Sum over tokens of -log softmax(hidden head^T)[target], in nats; a differentiable float32 scalar.

    hidden: (N, D). head: (V, D). targets: (N,), -100 is ignored.
    """
    loss: torch.Tensor = _ChunkedCrossEntropy.apply(hidden, head, targets, chunk_tokens)  # type: ignore[no-untyped-call]
    return loss


def next_token_loss(model: CausalLM, rows: torch.Tensor, chunk_tokens: int) -> torch.Tensor:
    """Mean loss in nats of predicting token t+1 of each row from its tokens 0..t. rows: (B, T) int64."""
    hidden = model.hidden(rows)[:, :-1].flatten(0, 1)
    targets = rows[:, 1:].flatten()
    return cross_entropy_sum(hidden, model.head, targets, chunk_tokens) / targets.numel()


@torch.no_grad()
def token_log_probs(model: CausalLM, rows: torch.Tensor, targets: torch.Tensor, chunk_tokens: int) -> torch.Tensor:
    """(B, T) float32: log p(targets[b, t] | rows[b, :t+1]) in nats; 0 where the target is -100."""
    hidden, flat = model.hidden(rows).flatten(0, 1), targets.flatten()
    out = torch.zeros(flat.shape, dtype=torch.float32, device=rows.device)
    kept = (flat != IGNORE).nonzero().squeeze(-1)
    for start in range(0, kept.numel(), chunk_tokens):
        chosen = kept[start : start + chunk_tokens]
        logits = F.linear(hidden[chosen], model.head.to(hidden.dtype)).float()
        out[chosen] = -F.cross_entropy(logits, flat[chosen], reduction="none")
    return out.view(targets.shape)
