from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from app.ensemble.mixing import mix_log_probs, mix_log_probs_torch, mix_logits

RNG = np.random.default_rng(1)


def test_a_mixture_of_probabilities_by_hand() -> None:
    """0.25 * 0.8 + 0.75 * 0.4 = 0.5."""
    mixed = mix_log_probs(np.log([0.8, 0.4]), np.array([0.25, 0.75]))
    assert mixed == pytest.approx(math.log(0.5))


def test_equals_brute_force_for_any_shape() -> None:
    probs, weights = RNG.uniform(size=(6, 7, 4)), RNG.dirichlet(np.ones(4), size=(6, 7))
    expected = np.log((probs * weights).sum(axis=-1))
    assert mix_log_probs(np.log(probs), weights) == pytest.approx(expected, abs=1e-12)
    by_torch = mix_log_probs_torch(torch.from_numpy(np.log(probs)), torch.from_numpy(weights))
    assert by_torch.numpy() == pytest.approx(expected, abs=1e-12)


def test_a_mixture_of_distributions_is_a_distribution() -> None:
    logits, weights = torch.randn(3, 5, 11, dtype=torch.float64), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    mixed = mix_log_probs_torch(logits.log_softmax(dim=-1), weights[:, None, None], dim=0)
    assert mixed.shape == (5, 11)
    assert mixed.exp().sum(dim=-1).numpy() == pytest.approx(1.0)


def test_far_below_the_smallest_float_nothing_is_lost() -> None:
    mixed = mix_log_probs(np.array([-5000.0, -5000.0]), np.array([0.5, 0.5]))
    assert mixed == pytest.approx(-5000.0)


@pytest.mark.parametrize(
    ("log_probs", "weights", "expected"),
    [
        ([-math.inf, math.log(0.5)], [0.5, 0.5], math.log(0.25)),
        ([-math.inf, -math.inf], [0.5, 0.5], -math.inf),
        ([-math.inf, -1.0], [1.0, 0.0], -math.inf),
        ([math.nan, -1.0], [0.0, 1.0], -1.0),
        ([-2.0, -1.0], [1.0, 0.0], -2.0),
    ],
)
def test_zeros_are_safe(log_probs: list[float], weights: list[float], expected: float) -> None:
    by_numpy = mix_log_probs(np.array(log_probs), np.array(weights))
    by_torch = mix_log_probs_torch(torch.tensor(log_probs), torch.tensor(weights))
    assert float(by_numpy) == pytest.approx(expected)
    assert float(by_torch) == pytest.approx(expected)


def test_weights_may_be_shared_by_all_tokens() -> None:
    log_probs = np.log(RNG.uniform(size=(8, 3)))
    weights = np.array([0.2, 0.3, 0.5])
    assert mix_log_probs(log_probs, weights) == pytest.approx(np.log(np.exp(log_probs) @ weights))


def test_single_precision_scores_are_mixed_in_double() -> None:
    log_probs = np.log(RNG.uniform(size=(8, 3))).astype(np.float32)
    assert mix_log_probs(log_probs, np.full(3, 1 / 3)).dtype == np.float64


def test_mixed_logits_by_hand_are_not_the_mixture() -> None:
    """4^0.75 : 4^0.25 = 2 : 1, while 0.75 * 0.8 + 0.25 * 0.2 = 0.65."""
    logits, weights = np.array([[math.log(4), 0.0], [0.0, math.log(4)]]), np.array([0.75, 0.25])
    assert np.exp(mix_logits(logits, weights)) == pytest.approx([2 / 3, 1 / 3])
    assert mix_logits(logits + np.array([[7.0], [-3.0]]), weights) == pytest.approx(mix_logits(logits, weights))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.exp(mix_log_probs(np.log(probs.T), weights)) == pytest.approx([0.65, 0.35])


def test_mixed_logits_of_any_shape_far_from_zero_and_beside_an_expert_without_weight() -> None:
    logits, weights = RNG.normal(size=(3, 4, 9)) + 5000, RNG.dirichlet(np.ones(4), size=3)
    expected = torch.from_numpy((logits * weights[..., None]).sum(axis=1)).log_softmax(-1).numpy()
    assert mix_logits(logits, weights) == pytest.approx(expected)
    silent = np.array([[math.nan, -math.inf], [0.0, -math.inf]])
    assert mix_logits(silent, np.array([0.0, 1.0])) == pytest.approx([0.0, -math.inf])
