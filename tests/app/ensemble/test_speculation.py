from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from app.core.records import FloatArray
from app.ensemble.speculation import Acceptance, PassCosts, accepts, best_draft_length, residual

P = np.array([0.5, 0.1, 0.4, 0.0])
Q = np.array([0.2, 0.3, 0.4, 0.1])


def test_kept_and_replaced_tokens_together_are_distributed_as_p() -> None:
    keep = np.array(
        [np.mean([accepts(p, q, (i + 0.5) / 1000) for i in range(1000)]) for p, q in zip(P, Q, strict=True)]
    )
    np.testing.assert_allclose(keep, np.minimum(1, P / Q), atol=1e-3)
    replacement = residual(torch.from_numpy(P), torch.from_numpy(Q)).numpy()
    rejected = (Q * (1 - keep)).sum()
    np.testing.assert_allclose(Q * keep + rejected * replacement / replacement.sum(), P, atol=1e-3)


def test_a_token_that_the_mixture_rules_out_is_never_kept() -> None:
    assert not accepts(0.0, 0.3, 0.0)
    assert accepts(0.3, 0.3, 1 - 2**-53)


def test_where_nothing_is_left_over_the_mixture_itself_is_drawn_from() -> None:
    p = torch.from_numpy(P)
    assert residual(p, p).tolist() == P.tolist()


def simulated_rate(acceptance: float, others: int, costs: PassCosts, n: int) -> float:
    """Tokens per pass of a cycle with n drafts, by drawing 20,000 of them."""
    draws = np.random.default_rng(1).random((20000, n + 1)) < acceptance
    draws[:, n] = False
    tokens = draws.argmin(axis=1) + 1
    cost = (n + 1) + others * costs.per_expert * (1 + costs.per_token * n)
    return float(tokens.mean() / cost)


@pytest.mark.parametrize("acceptance", [0.3, 0.8, 0.95])
@pytest.mark.parametrize("others", [1, 7])
def test_the_draft_length_is_the_one_of_most_tokens_per_pass(acceptance: float, others: int) -> None:
    costs = PassCosts(per_expert=0.9, per_token=0.1)
    best = best_draft_length(acceptance, others, costs)
    rates = [simulated_rate(acceptance, others, costs, n) for n in range(13)]
    assert rates[best] > max(rates) * 0.99


def test_nothing_is_drafted_where_one_expert_runs_or_drafts_are_not_kept() -> None:
    assert best_draft_length(0.99, 0, PassCosts()) == 0
    assert best_draft_length(0.05, 1, PassCosts()) == 0
    assert best_draft_length(0.99, 7, PassCosts(), most=3) == 3


def test_acceptance_follows_the_drafts_that_were_tested() -> None:
    good, bad = Acceptance(), Acceptance()
    for _ in range(30):
        good.record(kept=4, tested=4)
        bad.record(kept=0, tested=1)
    assert good.rate > 0.98 and bad.rate < 0.05
    assert (good.kept, good.tested, bad.kept, bad.tested) == (120, 120, 0, 30)


def passes_per_token(acceptance: Callable[[int], float], costs: PassCosts, others: int, cycles: int) -> FloatArray:
    """Passes of each cycle over its tokens, as a share of plain decoding's; acceptance: of a cycle's drafts."""
    numbers, estimate, made = np.random.default_rng(1), Acceptance(), []
    for cycle in range(cycles):
        n = best_draft_length(estimate.rate, others, costs)
        kept = 0
        while kept < n and numbers.random() < acceptance(cycle):
            kept += 1
        estimate.record(kept, min(n, kept + 1))
        passes = n + 1 + others * costs.per_expert * (1 + costs.per_token * n)
        made.append((passes / (1 + others * costs.per_expert), kept + 1))
    return np.array(made)


COSTS = [(PassCosts(), 1), (PassCosts(), 7), (PassCosts(0.1, 0.1), 7), (PassCosts(1.0, 0.02), 15)]


@pytest.mark.parametrize(("costs", "others"), COSTS)
def test_a_drafter_that_is_bad_first_and_good_later_is_tried_again(costs: PassCosts, others: int) -> None:
    passes, tokens = passes_per_token(lambda cycle: 0.0 if cycle < 100 else 0.95, costs, others, 500)[-200:].T
    always = passes_per_token(lambda _: 0.95, costs, others, 500)[-200:].T
    assert passes.sum() / tokens.sum() < 1.1 * always[0].sum() / always[1].sum() < 1


@pytest.mark.parametrize("acceptance", [0.0, 0.1])
@pytest.mark.parametrize(("costs", "others"), COSTS)
def test_trying_a_drafter_that_stays_bad_costs_a_few_percent(costs: PassCosts, others: int, acceptance: float) -> None:
    passes, tokens = passes_per_token(lambda _: acceptance, costs, others, 3000).T
    assert passes.sum() / tokens.sum() < 1.03


def test_a_cycle_without_drafts_moves_the_estimate_towards_the_first_guess_and_never_beyond() -> None:
    first = Acceptance().rate
    for kept in (0, 9):
        estimate = Acceptance()
        estimate.record(kept, 9)
        rates = [estimate.rate]
        for _ in range(2000):
            estimate.record(0, 0)
            rates.append(estimate.rate)
        away = np.abs(np.array(rates) - first)
        assert (np.diff(away) <= 1e-12).all() and away[-1] < 1e-3 < away[0] and estimate.tested == 9
