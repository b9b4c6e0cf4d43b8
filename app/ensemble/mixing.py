"""The ensemble's probability of a token: log sum_e alpha_e p_e, computed in log space.

A mixture of probabilities. The published downstream script mixes raw logits instead, which is another model
(``mix_logits``); nothing here serves or evaluates it.
"""

from __future__ import annotations

import numpy as np
import torch

from app.core.records import FloatArray


def mix_log_probs(log_probs: FloatArray, weights: FloatArray) -> FloatArray:
    """(...) log of the mixture: logsumexp over the last axis of log weights + log_probs, in float64.

    log_probs: (..., k), at most 0, may be -inf; weights: broadcastable to it, last axis sums to 1. An expert
    of weight 0 is ignored whatever it says; the result is -inf where no expert of positive weight allows the
    token.
    """
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.asarray(weights, dtype=np.float64))
    # An expert that did not run may have NaN here; added to -inf it would stay NaN and spoil the sum.
    terms = np.where(np.isneginf(log_weights), -np.inf, log_weights + np.asarray(log_probs, dtype=np.float64))
    highest = terms.max(axis=-1, keepdims=True)
    # Where all terms are -inf, -inf less -inf would be NaN.
    shift = np.where(np.isneginf(highest), 0.0, highest)
    with np.errstate(divide="ignore"):
        mixed: FloatArray = np.log(np.exp(terms - shift).sum(axis=-1)) + shift[..., 0]
    return mixed


def mix_log_probs_torch(log_probs: torch.Tensor, weights: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """The same in torch, over any dimension and in the precision of the inputs.

    log_probs: with the experts in ``dim``; weights: broadcastable to it, summing to 1 over ``dim``.
    """
    log_weights = weights.log()
    terms = torch.where(torch.isneginf(log_weights), log_weights, log_weights + log_probs)
    return torch.logsumexp(terms, dim=dim)


def mix_logits(logits: FloatArray, weights: FloatArray) -> FloatArray:
    """(..., V) log-probabilities of log_softmax(sum_e weights_e logits_e), in float64. Not the mixture: see above.

    It is the experts' normalised geometric mean, prod_e p_e^alpha_e. logits: (..., k, V), each expert's up to a
    constant; weights: (..., k), sum to 1. An expert of weight 0 is ignored whatever it says.
    """
    shares = np.asarray(weights, dtype=np.float64)[..., None]
    with np.errstate(invalid="ignore"):  # 0 times -inf, which is not used
        terms = np.where(shares == 0, 0.0, shares * np.asarray(logits, dtype=np.float64))
    summed = terms.sum(axis=-2)
    shifted = summed - summed.max(axis=-1, keepdims=True)
    mixed: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return mixed
