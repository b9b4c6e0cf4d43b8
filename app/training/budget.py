"""Token budgets: who gets how many, and how many steps that makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.apportion import largest_remainders
from app.core.errors import TrainingError


def split_budget(budget_tokens: int, shares: Sequence[float], tokens_per_step: int) -> list[int]:
    """Divide the steps of a budget by shares, largest remainders first; returns tokens, whole steps for each share.

    The sum is that of one model with the whole budget, to the token. Raises TrainingError if a share gets no step.
    """
    steps = largest_remainders(shares, steps_for(budget_tokens, tokens_per_step))
    if 0 in steps:
        raise TrainingError(
            f"a budget of {budget_tokens} tokens is {sum(steps)} steps of {tokens_per_step}, too few for {len(shares)}"
            f" models: number {steps.index(0)} would get none; raise training.budget_tokens or lower"
            " training.tokens_per_step"
        )
    return [count * tokens_per_step for count in steps]


def repeated(
    weights: Mapping[str, float], budget_tokens: int, held: Mapping[str, int], most: float
) -> dict[str, float]:
    """Languages whose text is gone through more than ``most`` times, with how often; the most repeated first.

    weights: share of each language in the rows, sums to 1. held: tokens that there are of it.
    """
    epochs = {lang: share * budget_tokens / held[lang] for lang, share in weights.items() if share > 0}
    return {lang: times for lang, times in sorted(epochs.items(), key=lambda item: -item[1]) if times > most}


def steps_for(budget_tokens: int, tokens_per_step: int) -> int:
    """Steps that come nearest to the budget, at least 1; each step sees exactly ``tokens_per_step`` tokens.

    Raises TrainingError if the budget is less than half a step.
    """
    # Halves are rounded up, in whole numbers: `round` goes to the even one and would make no step of half a step.
    steps = (2 * budget_tokens + tokens_per_step) // (2 * tokens_per_step)
    if steps < 1:
        raise TrainingError(
            f"a budget of {budget_tokens} tokens is less than half a step of {tokens_per_step};"
            " raise training.budget_tokens or lower training.tokens_per_step"
        )
    return steps
