from __future__ import annotations

import pytest

from app.core.errors import CorpusError
from app.corpora.mixture import Mixture, language_weights

TOKENS = {"en": 1_000_000, "de": 100_000, "sw": 1_000, "ur": 10}


def _weights(kind: Mixture, temperature: float = 0.3, max_epochs: float = 4.0, budget: int = 10**6) -> dict[str, float]:
    return language_weights(kind, TOKENS, temperature, max_epochs, budget, {})


@pytest.mark.parametrize("kind", ["uniform", "proportional", "temperature", "unimax"])
def test_weights_are_positive_and_sum_to_one(kind: Mixture) -> None:
    weights = _weights(kind)
    assert list(weights) == list(TOKENS)
    assert sum(weights.values()) == pytest.approx(1.0) and min(weights.values()) > 0


def test_uniform_and_proportional_are_temperature_zero_and_one() -> None:
    assert _weights("uniform") == pytest.approx(dict.fromkeys(TOKENS, 0.25))
    assert _weights("temperature", temperature=1e-12) == pytest.approx(_weights("uniform"))
    assert _weights("proportional")["de"] == pytest.approx(100_000 / 1_101_010)
    assert _weights("temperature", temperature=1.0) == pytest.approx(_weights("proportional"))


def test_temperature_by_hand() -> None:
    assert language_weights("temperature", {"a": 16, "b": 1}, 0.5, 1.0, 1, {}) == pytest.approx({"a": 0.8, "b": 0.2})


@pytest.mark.parametrize("budget", [10, 1_000, 50_000, 300_000, 2_000_000])
def test_unimax_is_the_even_share_capped_by_the_passes_over_each_language(budget: int) -> None:
    """Independent reference: bisect the level U for which sum of min(U, passes x tokens) is the budget."""
    caps = {lang: 4.0 * count for lang, count in TOKENS.items()}
    low, high = 0.0, float(budget)
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if sum(min(level, cap) for cap in caps.values()) < budget else (low, level)
    expected = {lang: min(high, cap) / budget for lang, cap in caps.items()}
    assert _weights("unimax", budget=budget) == pytest.approx(expected)


def test_unimax_with_more_budget_than_text_is_proportional() -> None:
    assert _weights("unimax", budget=10**12) == pytest.approx(_weights("proportional"))


def test_a_language_without_text_is_named() -> None:
    with pytest.raises(CorpusError, match=r"no training text for fr, zu; take it out of corpus\.languages"):
        language_weights("uniform", {"zu": 0, "de": 5, "fr": 0}, 1.0, 1.0, 1, {})
    with pytest.raises(CorpusError, match="any language"):
        language_weights("uniform", {}, 1.0, 1.0, 1, {})


def test_quality_multiplies_the_shares_of_any_mixture() -> None:
    # shares 0.8 and 0.2, b three times: 0.8 : 0.6
    assert language_weights("temperature", {"a": 16, "b": 1}, 0.5, 1.0, 1, {"b": 3.0}) == pytest.approx(
        {"a": 4 / 7, "b": 3 / 7}
    )
    assert language_weights("uniform", {"a": 7, "b": 1}, 1.0, 1.0, 1, {"a": 0.5}) == pytest.approx(
        {"a": 1 / 3, "b": 2 / 3}
    )


def test_a_quality_weight_for_a_language_without_text_is_named() -> None:
    with pytest.raises(CorpusError, match=r"quality_weights names fr, but the corpus has only a, b"):
        language_weights("uniform", {"a": 1, "b": 1}, 1.0, 1.0, 1, {"fr": 2.0})
