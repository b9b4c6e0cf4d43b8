"""Drafting with one expert and verifying with the mixture, so that the output is the mixture's exactly.

A token x drafted from q is kept with probability min(1, p(x) / q(x)); in place of the first that is not, a token is
drawn from (p - q)+, normalised. What is kept or drawn is then distributed as p, whatever q is (arXiv 2211.17192,
2302.01318).
With the heaviest expert as drafter, p >= a q, so at least a share ``a`` of plain drafts is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MOST_DRAFTED = 12
# A moving average over about the last ten tested drafts.
_MEMORY = 0.9
_FIRST_GUESS = 0.8
_RETURN = 0.005
"""Share of the way back to the first guess in each cycle without drafts, so that a draft is tried again after a while.
Where no draft is ever kept, what is tried costs less than ten times this share.
"""


def accepts(p: float, q: float, number: float) -> bool:
    """Whether a token of probability ``p``, drafted with probability ``q`` > 0, is kept; number: uniform in [0, 1)."""
    return number * q < p


def residual(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(V,) weights, not normalised, of the token that replaces a rejected one; p where p and q are equal."""
    left = (p - q).clamp_min(0)
    # With p = q only rounding can reject; an empty residual could not be drawn from.
    return left if float(left.sum()) > 0 else p


@dataclass(frozen=True)
class PassCosts:
    """What passes cost, in passes of one expert over one token: a property of the models and the machine, not of load.

    per_expert: a pass of one more expert beside the first (below 1 where they are batched); per_token: a further token
    in a pass, as a share of a pass over one.
    """

    per_expert: float = 1.0
    per_token: float = 0.25


def best_draft_length(acceptance: float, others: int, costs: PassCosts, most: int = MOST_DRAFTED) -> int:
    """Tokens to draft so that the expected time per token is least; 0 is plain decoding.

    A cycle of n drafts yields sum_{i=0..n} acceptance^i tokens; it costs n + 1 passes of the drafter, the last of them
    beside the one pass of the ``others`` over n + 1 tokens.
    """
    # The drafter is the whole mixture: nothing is saved by verifying it.
    if not others:
        return 0
    best, best_rate = 0, 0.0
    tokens, kept = 0.0, 1.0
    for n in range(most + 1):
        tokens += kept
        kept *= acceptance
        rate = tokens / (n + 1 + others * costs.per_expert * (1 + costs.per_token * n))
        if rate > best_rate:
            best, best_rate = n, rate
    return best


class Acceptance:
    """How often this request's drafts are kept: a moving average over the drafts that were tested."""

    def __init__(self) -> None:
        # Worth one draft: it decides the first cycle, and what is then measured soon outweighs it.
        self._kept, self._tested = _FIRST_GUESS, 1.0
        self.kept = 0
        self.tested = 0

    @property
    def rate(self) -> float:
        """Estimated chance that the next draft is kept."""
        return self._kept / self._tested

    def record(self, kept: int, tested: int) -> None:
        """``kept`` of ``tested`` drafts of a cycle were kept; those after the first rejection were not tested.

        A cycle without drafts says nothing: what was measured before it counts a little less.
        """
        if not tested:
            self._kept += _RETURN * (_FIRST_GUESS * self._tested - self._kept)
            return
        self.kept, self.tested = self.kept + kept, self.tested + tested
        fade = _MEMORY**tested
        self._kept, self._tested = fade * self._kept + kept, fade * self._tested + tested
