from __future__ import annotations

import pytest

from app.lineage.parts import Part, expert_weights


def test_an_experts_share_of_the_mixture_is_the_weight_times_the_tokens_it_holds() -> None:
    part = Part("expert-00", {"de": "all", "en": "all"}, {"de": 1000, "en": 250})
    weights = expert_weights(part, {"de": 0.5, "en": 0.5}, {"de": 1000, "en": 1000}, 64)
    assert weights == {"de": 0.5, "en": 0.125}


def test_the_shares_of_all_experts_add_up_to_the_whole_mixture() -> None:
    mixture, totals = {"de": 0.7, "en": 0.3}, {"de": 900, "en": 300}
    parts = [Part("a", {}, {"de": 600, "en": 100}), Part("b", {}, {"de": 300, "en": 200})]
    shares = [sum(expert_weights(part, mixture, totals, 10).values()) for part in parts]
    assert sum(shares) == pytest.approx(1.0)


def test_a_language_with_less_than_a_row_gets_no_weight() -> None:
    part = Part("a", {}, {"de": 600, "en": 9})
    assert set(expert_weights(part, {"de": 0.5, "en": 0.5}, {"de": 600, "en": 300}, 10)) == {"de"}
