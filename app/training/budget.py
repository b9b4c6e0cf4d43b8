"""Token budgets: who gets how many, and how many steps that makes."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.errors import TrainingError


def split_budget(budget_tokens: int, shares: Sequence[float]) -> list[int]:
    """Divide a budget by shares that sum to 1; whole tokens, largest remainders first, the sum is exact."""
    exact = [budget_tokens * share for share in shares]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: budget_tokens - sum(parts)]:
        parts[i] += 1
    return parts


def steps_for(budget_tokens: int, tokens_per_step: int) -> int:
    """Steps that come nearest to the budget, at least 1; each step sees exactly ``tokens_per_step`` tokens.

    Raises TrainingError if the budget is less than half a step.
    """
    steps = (2 * budget_tokens + tokens_per_step) // (2 * tokens_per_step)
    if steps < 1:
        raise TrainingError(
            f"a budget of {budget_tokens} tokens is less than half a step of {tokens_per_step};"
            " raise training.budget_tokens or lower training.tokens_per_step"
        )
    return steps
