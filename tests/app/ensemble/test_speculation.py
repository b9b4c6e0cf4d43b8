from __future__ import annotations

import numpy as np
import pytest
import torch

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
    before = bad.rate
    bad.record(kept=0, tested=0)
    assert bad.rate == before
