from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.ensemble.rules import RULES, WeightingSettings, rule_of
from app.ensemble.weights import start_weights

INFINITE = math.inf


def weigh(name: str, distances: list[float], temperature: float = 0.1) -> list[float]:
    """Weights before the first token, from distances alone."""
    state = start_weights(WeightingSettings(name, temperature), len(distances), distances=np.array([distances]))
    return state.weights()[0].tolist()


def test_tfidf_is_the_papers_softmax_of_squared_distances() -> None:
    """By hand: exp(-0.25) : exp(-1) with T = 1; a distance that is not squared would give exp(-0.5) : exp(-1)."""
    near, far = math.exp(-0.25), math.exp(-1.0)
    assert weigh("tfidf", [0.5, 1.0], 1.0) == pytest.approx([near / (near + far), far / (near + far)])
    near, far = math.exp(-2.5), math.exp(-10.0)
    assert weigh("tfidf", [0.5, 1.0]) == pytest.approx([near / (near + far), far / (near + far)])


def test_as_coded_is_the_softmax_of_fourth_powers() -> None:
    expected = math.exp(-16) / (math.exp(-16) + math.exp(-1))
    assert weigh("as_coded", [2.0, 1.0], 1.0) == pytest.approx([expected, 1 - expected])


@pytest.mark.parametrize("name", ["tfidf", "as_coded", "product_of_experts"])
def test_an_infinite_distance_has_no_weight(name: str) -> None:
    assert weigh(name, [INFINITE, 0.0]) == [0.0, 1.0] and weigh(name, [0.5, INFINITE]) == [1.0, 0.0]


def test_tiny_temperatures_do_not_overflow() -> None:
    assert weigh("tfidf", [1.0, 1.2, 1.3], 1e-9) == [1.0, 0.0, 0.0]


def test_one_hot_takes_the_nearest_and_the_first_of_equals() -> None:
    assert weigh("one_hot", [0.3, 0.1, 0.1]) == [0.0, 1.0, 0.0]
    assert weigh("one_hot", [INFINITE, INFINITE, 0.0]) == [0.0, 0.0, 1.0]


def test_uniform_looks_at_nothing() -> None:
    assert start_weights(WeightingSettings("uniform"), 4, prior=[1.0, 0, 0, 0]).weights()[0].tolist() == [0.25] * 4


def test_fixed_weights_are_the_prior_normalised() -> None:
    state = start_weights(WeightingSettings("fixed"), 2, prior=[1.0, 3.0])
    assert state.weights()[0] == pytest.approx([0.25, 0.75])
    assert np.array_equal(state.observe().weights(), state.weights())


def test_bayes_is_the_prior_times_the_probability_of_the_last_token_alone() -> None:
    """By hand: 0.25 * 0.8 : 0.75 * 0.2 = 4 : 3, whatever came before."""
    state = start_weights(WeightingSettings("bayes"), 2, prior=[0.25, 0.75])
    state = state.observe(np.log([[0.01, 0.99]])).observe(np.log([[0.8, 0.2]]))
    assert state.weights()[0] == pytest.approx([4 / 7, 3 / 7])


def test_product_of_experts_is_the_weight_by_distance_times_the_probability_of_the_last_token() -> None:
    state = start_weights(WeightingSettings("product_of_experts", 1.0), 2, distances=np.array([[9.0, 1.0]]))
    state = state.observe(np.log([[0.01, 0.99]]), np.array([[0.1, 0.2]]))
    state = state.observe(np.log([[0.8, 0.2]]), np.array([[0.5, 1.0]]))
    near, far = math.exp(-0.25) * 0.8, math.exp(-1.0) * 0.2
    assert state.weights()[0] == pytest.approx([near / (near + far), far / (near + far)])


def test_published_rules_by_the_last_token_ignore_the_posteriors_numbers() -> None:
    settings = WeightingSettings("bayes", power=3.0, forgetting=0.5, drop_below=0.9)
    state = start_weights(settings, 2).observe(np.log([[0.8, 0.2]]))
    assert state.weights()[0] == pytest.approx([0.8, 0.2]) and state.running().all()


def test_an_unknown_rule_is_refused_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tfidf'"):
        rule_of(WeightingSettings("tfdif"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 0.0), ("power", 0.0), ("forgetting", 1.5), ("drop_below", 1.0), ("rescore_every", -1)],
)
def test_a_number_outside_its_range_is_refused_with_its_name(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} is {value}; choose"):
        rule_of(replace(WeightingSettings(), **{field: value}))  # type: ignore[arg-type]  # by name


def test_each_rule_says_what_it_needs() -> None:
    by_distance = {name for name, rule in RULES.items() if rule.needs.distances}
    by_scores = {name for name, rule in RULES.items() if rule.needs.scores}
    assert by_distance == {"one_hot", "tfidf", "as_coded", "product_of_experts"}
    assert by_scores == {"bayes", "product_of_experts", "posterior"}
