"""Cross-entropy through the output projection, a chunk of tokens at a time.

With a vocabulary of 256,008 the float32 logits of one row of 2,048 tokens are 2.1 GB. Here at most ``chunk_tokens``
rows of logits exist at once: the gradient of each chunk is computed in the forward pass while its logits are at
hand, so nothing is computed twice.

Shape legend: N tokens, C tokens of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from app.models.causal import CausalLM

# torch's own ignore_index.
IGNORE = -100


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, head_VD: torch.Tensor, targets_N: torch.Tensor, chunk_tokens: int
    ) -> torch.Tensor:
        # Products with out= are not cast by autocast.
        hidden, head = _matrix_product_dtype(hidden_ND), _matrix_product_dtype(head_VD)
        grad_hidden = torch.empty_like(hidden)
        # float32 also under autocast: a sum over many chunks would lose digits in bfloat16.
        grad_head = torch.zeros_like(head_VD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # one pair of buffers for all chunks: memory this large is mapped and zeroed anew at each allocation
        room = (min(chunk_tokens, hidden.shape[0]), head.shape[0])
        all_logits = hidden.new_empty(room)
        all_gradients = hidden.new_empty(room, dtype=torch.float32)
        for start in range(0, hidden.shape[0], chunk_tokens):
            part = slice(start, start + chunk_tokens)
            targets_C1 = targets_N[part, None]
            logits_CV = torch.mm(hidden[part], head.T, out=all_logits[: len(targets_C1)])
            gradient_CV = torch.softmax(logits_CV, -1, torch.float32, out=all_gradients[: len(targets_C1)])
            # log Z = the largest logit - log of the largest probability, which is at least 1/V: no underflow
            normaliser_C1 = logits_CV.amax(-1, keepdim=True).float() - gradient_CV.amax(-1, keepdim=True).log()
            total += (normaliser_C1 - logits_CV.gather(-1, targets_C1).float()).sum()
            # d loss / d logits = softmax - one-hot
            gradient_CV.scatter_add_(-1, targets_C1, gradient_CV.new_full(targets_C1.shape, -1))
            # The logits are used up, so the narrow copy of the gradient takes their place.
            narrow_CV = gradient_CV if logits_CV.dtype == torch.float32 else logits_CV.copy_(gradient_CV)
            torch.mm(narrow_CV, head, out=grad_hidden[part])
            # addmm_ adds in place, without a second (V, D) array, but takes operands of one type only.
            if grad_head is not None and grad_head.dtype == hidden.dtype:
                grad_head.addmm_(narrow_CV.T, hidden[part])
            elif grad_head is not None:
                grad_head += narrow_CV.T @ hidden[part]
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.dtypes = hidden_ND.dtype, head_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        scale, (hidden_dtype, head_dtype) = outputs[0], ctx.dtypes
        head = None if grad_head is None else grad_head.mul_(scale).to(head_dtype)
        return grad_hidden.to(hidden_dtype) * scale.to(hidden_dtype), head, None, None


def _matrix_product_dtype(tensor: torch.Tensor) -> torch.Tensor:
    """What autocast would make of an operand, done once instead of once per chunk."""
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


def cross_entropy_sum(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, chunk_tokens: int
) -> torch.Tensor:
    """Sum over tokens of -log softmax(hidden head^T)[target], in nats; a differentiable float32 scalar.

    hidden: (N, D). head: (V, D), of the same dtype or under autocast. targets: (N,), -100 is ignored.
    The backward pass can be run once: it scales the stored gradient of the head in place.
    """
    kept = targets != IGNORE
    if not bool(kept.all()):
        hidden, targets = hidden[kept], targets[kept]
    loss: torch.Tensor = _ChunkedCrossEntropy.apply(hidden, head, targets, chunk_tokens)  # type: ignore[no-untyped-call]
    return loss


def next_token_loss(
    model: CausalLM, rows: torch.Tensor, chunk_tokens: int, languages: Sequence[str] | None = None
) -> torch.Tensor:
    """Mean loss in nats of predicting token t+1 of each row from its tokens 0..t.

    rows: (B, T + 1) int64. languages: the code of each row's, for models with parts of their own for languages.
    """
    hidden = model.hidden(rows[:, :-1], languages=languages).flatten(0, 1)
    targets = rows[:, 1:].flatten()
    return cross_entropy_sum(hidden, model.head, targets, chunk_tokens) / targets.numel()


@torch.no_grad()
def token_log_probs(
    model: CausalLM,
    rows: torch.Tensor,
    targets: torch.Tensor,
    chunk_tokens: int,
    languages: Sequence[str] | None = None,
) -> torch.Tensor:
    """(B, T) float32: log p(targets[b, t] | rows[b, :t+1]) in nats; 0 where the target is -100."""
    hidden, flat = model.hidden(rows, languages=languages).flatten(0, 1), targets.flatten()
    out = torch.zeros(flat.shape, dtype=torch.float32, device=rows.device)
    kept = (flat != IGNORE).nonzero().squeeze(-1)
    for start in range(0, kept.numel(), chunk_tokens):
        chosen = kept[start : start + chunk_tokens]
        logits = F.linear(hidden[chosen], model.head.to(hidden.dtype)).float()
        out[chosen] = -F.cross_entropy(logits, flat[chosen], reduction="none")
    return out.view(targets.shape)
