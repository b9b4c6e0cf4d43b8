from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import TrainingError
from app.training.budget import repeated, split_budget, steps_for


@given(st.integers(0, 10**10), st.lists(st.integers(1, 1000), min_size=1, max_size=16), st.integers(1, 10**5))
def test_experts_together_take_the_steps_of_dense_and_each_its_share_to_a_step(
    budget: int, sizes: list[int], step: int
) -> None:
    steps = (budget + step // 2) // step
    if steps * min(sizes) < sum(sizes):  # a share of less than a step
        return
    parts = split_budget(budget, sizes, step)
    assert sum(parts) == steps_for(budget, step) * step and all(part % step == 0 for part in parts)
    for part, size in zip(parts, sizes, strict=True):
        assert abs(part / step - steps * size / sum(sizes)) < 1 + 1e-6


def test_left_over_steps_go_to_the_largest_remainders_and_ties_to_the_first() -> None:
    assert split_budget(1000, [0.55, 0.25, 0.20], 100) == [600, 200, 200]  # 5.5, 2.5, 2.0
    assert split_budget(1000, [16, 38, 46], 100) == [100, 400, 500]  # 1.6, 3.8, 4.6: one to .8, one to the tied first
    assert split_budget(700, [0.5, 0.5], 100) == [400, 300]


def test_small_budgets_give_experts_no_more_than_dense() -> None:
    assert split_budget(800, [1, 1, 1, 1, 1], 100) == [200, 200, 200, 100, 100]  # each alone would take 2 of 8 steps


def test_an_expert_without_a_step_is_refused_with_the_cure() -> None:
    with pytest.raises(TrainingError, match=r"2 steps of 100, too few for 3 models.*raise training\.budget_tokens"):
        split_budget(200, [1, 1, 1], 100)


@pytest.mark.parametrize(
    ("budget", "steps"), [(1000, 10), (1049, 10), (1050, 11), (949, 9), (50, 1), (149, 1), (150, 2)]
)
def test_steps_come_nearest_to_the_budget(budget: int, steps: int) -> None:
    assert steps_for(budget, 100) == steps


@pytest.mark.parametrize("budget", [0, 1, 49])
def test_less_than_half_a_step_is_refused_with_the_cure(budget: int) -> None:
    with pytest.raises(TrainingError, match=rf"budget of {budget} tokens.*training\.budget_tokens"):
        steps_for(budget, 100)


def test_languages_that_are_repeated_are_named_with_how_often_the_worst_first() -> None:
    weights, held = {"de": 0.5, "hi": 0.3, "sw": 0.2, "tr": 0.0}, {"de": 1000, "hi": 100, "sw": 10, "tr": 1}
    assert repeated(weights, 1000, held, most=2.9) == {"sw": 20.0, "hi": 3.0}
    assert repeated(weights, 1000, held, most=20.0) == {}
