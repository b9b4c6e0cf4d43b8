from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import TrainingError
from app.training.budget import split_budget, steps_for


@given(st.integers(0, 10**13), st.lists(st.integers(0, 1000), min_size=1, max_size=16).filter(any))
def test_the_parts_sum_to_the_budget_and_miss_their_share_by_less_than_a_token(budget: int, sizes: list[int]) -> None:
    shares = [size / sum(sizes) for size in sizes]
    parts = split_budget(budget, shares)
    assert sum(parts) == budget
    slack = 1 + budget * 1e-12  # shares are floats
    assert all(abs(part - budget * share) <= slack for part, share in zip(parts, shares, strict=True))


def test_left_over_tokens_go_to_the_largest_remainders_and_ties_to_the_first() -> None:
    assert split_budget(10, [0.55, 0.25, 0.20]) == [6, 2, 2]  # 5.5, 2.5, 2.0
    assert split_budget(10, [0.16, 0.38, 0.46]) == [1, 4, 5]  # 1.6, 3.8, 4.6: one goes to .8, one to the tied first
    assert split_budget(7, [0.5, 0.5]) == [4, 3]


@pytest.mark.parametrize(
    ("budget", "steps"), [(1000, 10), (1049, 10), (1050, 11), (949, 9), (50, 1), (149, 1), (150, 2)]
)
def test_steps_come_nearest_to_the_budget(budget: int, steps: int) -> None:
    assert steps_for(budget, 100) == steps


@pytest.mark.parametrize("budget", [0, 1, 49])
def test_less_than_half_a_step_is_refused_with_the_cure(budget: int) -> None:
    with pytest.raises(TrainingError, match=rf"budget of {budget} tokens.*training\.budget_tokens"):
        steps_for(budget, 100)
