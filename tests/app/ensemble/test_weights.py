from __future__ import annotations

import math

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.ensemble.weights import WEIGHTINGS, Signals, WeightingSettings, expert_weights, top_m

INFINITE = math.inf
RNG = np.random.default_rng(0)
RANDOM = Signals(RNG.uniform(0.2, 1.4, size=(9, 5)), np.log(RNG.uniform(0.01, 1, size=(9, 5))))


def weigh(name: str, distances: list[list[float]], **settings: float | tuple[float, ...]) -> list[list[float]]:
    chosen = WeightingSettings(name, **settings)  # type: ignore[arg-type]  # fields by name
    return expert_weights(Signals(np.array(distances)), chosen).tolist()


def test_tfidf_is_the_papers_softmax_of_squared_distances() -> None:
    """exp(0) : exp(-1) with T = 1, then exp(0) : exp(-10) with T = 0.1."""
    assert weigh("tfidf", [[0.0, 1.0]], temperature=1.0)[0] == pytest.approx([0.7310585786, 0.2689414214])
    assert weigh("tfidf", [[0.0, 1.0]])[0] == pytest.approx([1 / (1 + math.exp(-10)), 1 / (1 + math.exp(10))])


def test_as_coded_is_the_softmax_of_fourth_powers() -> None:
    expected = math.exp(-16) / (math.exp(-16) + math.exp(-1))
    assert weigh("as_coded", [[2.0, 1.0]], temperature=1.0)[0] == pytest.approx([expected, 1 - expected])


def test_an_infinite_distance_has_no_weight() -> None:
    assert weigh("tfidf", [[INFINITE, 0.0], [0.5, INFINITE]]) == [[0.0, 1.0], [1.0, 0.0]]
    assert weigh("as_coded", [[INFINITE, 0.0]]) == [[0.0, 1.0]]


def test_tiny_temperatures_do_not_overflow() -> None:
    assert weigh("tfidf", [[1.0, 1.2, 1.3]], temperature=1e-9) == [[1.0, 0.0, 0.0]]


def test_one_hot_takes_the_nearest_and_the_first_of_equals() -> None:
    assert weigh("one_hot", [[0.3, 0.1, 0.1], [INFINITE, INFINITE, 0.0]]) == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_uniform_looks_at_nothing() -> None:
    assert weigh("uniform", [[0.0, INFINITE, 1.0, 2.0]]) == [[0.25] * 4]


def test_fixed_weights_are_normalised() -> None:
    assert weigh("fixed", [[0.0, 1.0], [9.0, 9.0]], fixed=(1.0, 3.0)) == [[0.25, 0.75]] * 2


@pytest.mark.parametrize("weights", [(), (1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, math.nan)])
def test_unusable_fixed_weights_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"weights? (are|for)|one weight"):
        weigh("fixed", [[0.0, 1.0]], fixed=weights)


def test_posterior_is_bayes_rule_over_all_earlier_tokens() -> None:
    """Worked by hand: prior 1/2, 1/2; first token 0.8 against 0.2, second 0.5 against 0.25."""
    log_probs = np.log(np.array([[0.8, 0.2], [0.5, 0.25], [0.1, 0.9]]))
    weights = expert_weights(Signals(np.ones((3, 2)), log_probs), WeightingSettings("posterior"))
    assert weights == pytest.approx(np.array([[0.5, 0.5], [0.8, 0.2], [0.4 / 0.45, 0.05 / 0.45]]))


def test_posterior_gives_the_probability_of_a_mixture_of_documents() -> None:
    """Mixing token by token with it equals averaging the experts' probabilities of the whole document."""
    assert RANDOM.log_probs is not None
    weights = expert_weights(RANDOM, WeightingSettings("posterior"))
    by_token = np.log((weights * np.exp(RANDOM.log_probs)).sum(axis=1)).sum()
    whole = math.log(np.exp(RANDOM.log_probs.sum(axis=0)).mean())
    assert by_token == pytest.approx(whole)


def test_posterior_uses_its_prior_and_survives_an_expert_that_is_ruled_out() -> None:
    log_probs = np.array([[-INFINITE, math.log(0.5)], [math.log(0.5)] * 2])
    weights = expert_weights(Signals(np.ones((2, 2)), log_probs), WeightingSettings("posterior", fixed=(3.0, 1.0)))
    assert weights == pytest.approx(np.array([[0.75, 0.25], [0.0, 1.0]]))


def test_posterior_of_a_long_document_does_not_underflow() -> None:
    log_probs = np.tile(np.log([0.001, 0.002]), (5000, 1))
    weights = expert_weights(Signals(np.ones((5000, 2)), log_probs), WeightingSettings("posterior"))
    assert np.isfinite(weights).all() and weights[-1].tolist() == [0.0, 1.0]


def test_posterior_refuses_what_it_cannot_know() -> None:
    with pytest.raises(ConfigError, match="needs the log-probabilities"):
        weigh("posterior", [[1.0, 1.0]])
    ruled_out = Signals(np.ones((2, 2)), np.full((2, 2), -INFINITE))
    with pytest.raises(ConfigError, match="probability 0"):
        expert_weights(ruled_out, WeightingSettings("posterior"))


def test_top_m_renormalises_the_largest() -> None:
    assert top_m(np.array([[0.5, 0.2, 0.3]]), 2)[0] == pytest.approx([0.625, 0.0, 0.375])


def test_top_m_decides_ties_by_index() -> None:
    assert top_m(np.full((1, 4), 0.25), 3)[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize("m", [-1, 6])
def test_top_m_outside_the_experts_is_refused(m: int) -> None:
    with pytest.raises(ConfigError, match=rf"top_m is {m} but there are 5 experts"):
        expert_weights(RANDOM, WeightingSettings("tfidf", top_m=m))


@pytest.mark.parametrize("m", range(6))
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_sum_to_one_with_at_most_m_experts(name: str, m: int) -> None:
    settings = WeightingSettings(name, top_m=m, fixed=(0.1, 0.2, 0.3, 0.4, 0.5) if name == "fixed" else ())
    weights = expert_weights(RANDOM, settings)
    assert weights.shape == (9, 5) and (weights >= 0).all()
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert ((weights > 0).sum(axis=1) <= (m or 5)).all()


def test_an_unknown_weighting_and_a_bad_temperature_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tfidf'"):
        expert_weights(RANDOM, WeightingSettings("tfdif"))
    with pytest.raises(ConfigError, match="temperature is 0"):
        expert_weights(RANDOM, WeightingSettings("tfidf", temperature=0.0))
