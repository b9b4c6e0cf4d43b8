from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.core.records import FloatArray
from app.ensemble.rules import RULES, WeightingSettings
from app.ensemble.weights import WeightState, start_weights, top_m

RNG = np.random.default_rng(0)
SCORES = np.log(RNG.uniform(0.01, 1, size=(9, 5)))
DISTANCES = RNG.uniform(0.2, 1.4, size=(10, 5))
PLAIN = WeightingSettings(drop_below=0.0)


def after(state: WeightState, scores: FloatArray) -> list[WeightState]:
    """The state before each token and after the last."""
    states = [state]
    for row in scores:
        states.append(states[-1].observe(row[None]))
    return states


def test_posterior_is_bayes_rule_over_all_earlier_tokens() -> None:
    """Worked by hand: prior 1/2, 1/2; first token 0.8 against 0.2, second 0.5 against 0.25."""
    states = after(start_weights(PLAIN, 2), np.log([[0.8, 0.2], [0.5, 0.25]]))
    found = np.concatenate([state.weights() for state in states])
    assert found == pytest.approx(np.array([[0.5, 0.5], [0.8, 0.2], [0.4 / 0.45, 0.05 / 0.45]]))


def test_posterior_gives_the_probability_of_a_mixture_of_documents() -> None:
    """Mixing token by token with it equals averaging the experts' probabilities of the whole document."""
    weights = np.concatenate([state.weights() for state in after(start_weights(PLAIN, 5), SCORES)[:-1]])
    by_token = np.log((weights * np.exp(SCORES)).sum(axis=1)).sum()
    assert by_token == pytest.approx(math.log(np.exp(SCORES.sum(axis=0)).mean()))


def test_power_and_forgetting_by_definition() -> None:
    """alpha_t proportional to prior * exp(sum over s < t of lambda^(t-1-s) * gamma * log p(x_s))."""
    prior = np.array([0.1, 0.2, 0.3, 0.2, 0.2])
    state = start_weights(replace(PLAIN, power=0.7, forgetting=0.9), 5, prior=prior)
    for t, found in enumerate(after(state, SCORES)):
        score = sum((0.9 ** (t - 1 - s) * 0.7 * SCORES[s] for s in range(t)), np.zeros(5))
        expected = prior * np.exp(score)
        assert found.weights()[0] == pytest.approx(expected / expected.sum())


def test_a_text_that_switches_is_followed_sooner_with_forgetting() -> None:
    scores = np.log(np.array([[0.5, 0.05]] * 40 + [[0.05, 0.5]] * 20))
    kept = after(start_weights(PLAIN, 2), scores)[-1].weights()[0, 1]
    forgot = after(start_weights(replace(PLAIN, forgetting=0.8), 2), scores)[-1].weights()[0, 1]
    assert kept < 1e-9 and forgot > 0.99


def test_an_expert_below_the_limit_is_dropped_and_the_others_are_normalised_without_it() -> None:
    state = start_weights(WeightingSettings(drop_below=0.05), 3).observe(np.log([[0.6, 0.3, 0.01]]))
    assert state.weights()[0] == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert state.running()[0].tolist() == [True, True, False]
    state = state.observe(np.array([[math.log(0.5), math.log(0.5), math.nan]]))
    assert state.weights()[0] == pytest.approx([2 / 3, 1 / 3, 0.0]) and state.behind[0].tolist() == [0, 0, 1]


def test_dropped_experts_are_looked_at_again_and_come_back_with_what_they_missed() -> None:
    settings = WeightingSettings(drop_below=0.05, rescore_every=4)
    late = np.log(np.array([[0.9, 0.01], [0.5, 0.5], [0.1, 0.9], [0.01, 0.9]]))
    state = start_weights(settings, 2)
    for row in late:
        assert not state.due().any()
        state = state.observe(np.where(state.running(), row, np.nan))
    assert state.due().tolist() == [True] and state.behind[0].tolist() == [0, 3]
    state = state.catch_up(0, 1, late[1:, 1])
    expected = np.exp(late.sum(axis=0))
    assert state.weights()[0] == pytest.approx(expected / expected.sum())


@pytest.mark.parametrize("forgetting", [1.0, 0.9])
def test_running_only_who_is_kept_gives_the_weights_of_running_all(forgetting: float) -> None:
    """Serving, where dropped experts do not run, against kept scores of all experts: the same to the last bit."""
    rng = np.random.default_rng(3)
    scores = np.log(rng.dirichlet(np.full(6, 0.3), size=300)) + 3 * np.eye(6)[np.arange(300) // 50 % 6]
    settings = WeightingSettings(drop_below=1e-2, rescore_every=16, forgetting=forgetting, power=0.3)
    served, known, ran = start_weights(settings, 6), start_weights(settings, 6), 0
    for t, row in enumerate(scores):
        while served.due()[0]:
            expert = int(np.flatnonzero(served.behind[0])[0])
            served = served.catch_up(0, expert, scores[t - served.behind[0, expert] : t, expert])
        assert np.array_equal(served.weights(), known.weights())
        ran += int(served.running().sum())
        served = served.observe(np.where(served.running(), row[None], np.nan))
        known = known.observe(row[None])
    assert ran < 0.8 * 6 * 300


def test_without_looking_again_a_dropped_expert_is_gone_for_good() -> None:
    settings = WeightingSettings(drop_below=0.05, rescore_every=0)
    scores = np.log(np.array([[0.9, 0.01]] + [[0.01, 0.9]] * 200))
    states = after(start_weights(settings, 2), scores)
    assert all(state.weights()[0].tolist() == [1.0, 0.0] and not state.due().any() for state in states[1:])


def test_the_heaviest_expert_is_kept_whatever_the_limit() -> None:
    state = start_weights(WeightingSettings(drop_below=0.9), 4, prior=[0.3, 0.2, 0.3, 0.2])
    assert state.weights()[0].tolist() == [0.5, 0.0, 0.5, 0.0]


def test_an_expert_without_prior_never_runs_and_need_not_catch_up() -> None:
    state = start_weights(WeightingSettings(rescore_every=2), 2, prior=[1.0, 0.0])
    for _ in range(4):
        assert state.running()[0].tolist() == [True, False] and not state.due().any()
        state = state.observe(np.array([[-1.0, math.nan]]))
    assert state.weights()[0].tolist() == [1.0, 0.0]


def test_a_token_that_experts_rule_out_leaves_defined_weights() -> None:
    impossible = np.array([[-math.inf, math.log(0.5)]])
    assert start_weights(PLAIN, 2).observe(impossible).weights()[0].tolist() == [0.0, 1.0]
    assert start_weights(PLAIN, 2).observe(np.full((1, 2), -math.inf)).weights()[0].tolist() == [0.5, 0.5]


def test_posterior_of_a_long_document_does_not_underflow() -> None:
    state = after(start_weights(PLAIN, 2), np.tile(np.log([0.001, 0.002]), (5000, 1)))[-1]
    assert state.weights()[0].tolist() == [0.0, 1.0]


def test_rows_are_independent_and_can_be_picked() -> None:
    settings = WeightingSettings(drop_below=0.05, top_m=3)
    many = start_weights(settings, 5, rows=3, prior=np.exp(SCORES[:3]))
    alone = [start_weights(settings, 5, prior=np.exp(SCORES[row])) for row in range(3)]
    for t in range(3):
        rows = SCORES[[t, t + 3, t + 6]]
        many = many.observe(rows)
        alone = [state.observe(rows[row][None]) for row, state in enumerate(alone)]
    expected = np.concatenate([state.weights() for state in alone])
    assert np.array_equal(many.weights(), expected)
    assert np.array_equal(many.select([2, 0]).weights(), expected[[2, 0]])


def test_a_state_does_not_change_so_a_rejected_draft_is_forgotten() -> None:
    state = start_weights(WeightingSettings(), 5)
    before = state.weights()
    state.observe(SCORES[:1])
    assert np.array_equal(state.weights(), before) and state.tokens.tolist() == [0]


def test_a_kept_expert_may_not_be_left_out() -> None:
    with pytest.raises(AssertionError, match="must score every token"):
        start_weights(PLAIN, 2).observe(np.array([[-1.0, math.nan]]))


def test_rules_by_distance_ask_for_distances() -> None:
    with pytest.raises(ConfigError, match="tfidf needs distances"):
        start_weights(WeightingSettings("tfidf"), 2)


@pytest.mark.parametrize("prior", [(1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, math.nan)])
def test_an_unusable_prior_is_refused(prior: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="give 2 numbers of at least 0"):
        start_weights(PLAIN, 2, prior=prior)


@pytest.mark.parametrize(
    ("prior", "expected"), [((1.7e308, 1.7e308), 0.5), ((5e-324, 0.0), 1.0), ((1e308, 3e307), 1 / 1.3)]
)
def test_a_prior_may_be_as_large_or_small_as_a_float(prior: tuple[float, ...], expected: float) -> None:
    state = start_weights(WeightingSettings("fixed"), 2, prior=prior)
    assert state.weights()[0] == pytest.approx([expected, 1 - expected])


def test_top_m_renormalises_the_largest() -> None:
    assert top_m(np.array([[0.5, 0.2, 0.3]]), 2)[0] == pytest.approx([0.625, 0.0, 0.375])


def test_top_m_decides_ties_by_index() -> None:
    assert top_m(np.full((1, 4), 0.25), 3)[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize("m", [-1, 6])
def test_top_m_outside_the_experts_is_refused(m: int) -> None:
    with pytest.raises(ConfigError, match=rf"top_m is {m} but there are 5 experts"):
        start_weights(WeightingSettings(top_m=m), 5)


@pytest.mark.parametrize("m", range(6))
@pytest.mark.parametrize("name", RULES)
def test_weights_sum_to_one_with_at_most_m_experts(name: str, m: int) -> None:
    state = start_weights(WeightingSettings(name, top_m=m), 5, distances=DISTANCES[:1])
    for t in range(9):
        weights = state.weights()
        assert weights.shape == (1, 5) and (weights >= 0).all() and weights.sum() == pytest.approx(1.0)
        assert ((weights > 0).sum() <= (m or 5)) and (state.running() | (weights == 0)).all()
        state = state.observe(SCORES[t][None], DISTANCES[t + 1][None])
