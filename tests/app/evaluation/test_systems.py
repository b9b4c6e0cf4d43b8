from __future__ import annotations

import math

import numpy as np
import pytest

from app.ensemble.weights import WeightingSettings
from app.evaluation.scores import scored_documents
from app.evaluation.systems import ENSEMBLE, POSTERIOR, TOP1_CONTEXT, TOP1_LANGUAGE, mixed_systems

DOCUMENTS = scored_documents(["a", "b"], ["de", "sw"], [3, 2], [9, 4])
P = np.array([[0.5, 0.1], [0.5, 0.4], [0.2, 0.3], [0.1, 0.6], [0.1, 0.2]])  # probability of each token under 2 experts
DISTANCES = np.array([[0.2, 0.4], [0.5, 0.4], [0.1, 0.3], [0.6, 0.5], [0.6, 0.1]])
HOME = {"de": 0, "sw": 1}


def systems(distances: np.ndarray, weighting: WeightingSettings) -> dict[str, list[float]]:
    found = mixed_systems(DOCUMENTS, np.log(P), distances, HOME, weighting)
    return {name: np.exp(values).tolist() for name, values in found.items()}


def test_top1_by_language_is_the_expert_of_the_documents_language() -> None:
    assert systems(DISTANCES, WeightingSettings())[TOP1_LANGUAGE] == pytest.approx([0.5, 0.5, 0.2, 0.6, 0.2])


def test_top1_by_context_is_the_nearest_expert_at_each_token() -> None:
    assert systems(DISTANCES, WeightingSettings())[TOP1_CONTEXT] == pytest.approx([0.5, 0.4, 0.2, 0.6, 0.2])


def test_the_ensemble_mixes_probabilities_with_the_configured_weights() -> None:
    expected = []
    for (near, far), (p, q) in zip(DISTANCES.tolist(), P.tolist(), strict=True):
        a, b = math.exp(-(near**2) / 0.1), math.exp(-(far**2) / 0.1)
        expected.append((a * p + b * q) / (a + b))
    assert systems(DISTANCES, WeightingSettings("tfidf", 0.1))[ENSEMBLE] == pytest.approx(expected)


def test_the_posterior_starts_anew_with_each_document() -> None:
    first = (0.5 + 0.1) / 2
    second = (0.5 * 0.5 + 0.1 * 0.4) / 0.6
    third = (0.25 * 0.2 + 0.04 * 0.3) / 0.29
    fresh, last = (0.1 + 0.6) / 2, (0.1 * 0.1 + 0.6 * 0.2) / 0.7
    assert systems(DISTANCES, WeightingSettings())[POSTERIOR] == pytest.approx([first, second, third, fresh, last])


def test_languages_alone_leave_top1_by_context_to_the_posterior() -> None:
    one_hot = np.array([[0, np.inf]] * 3 + [[np.inf, 0]] * 2)
    found = systems(one_hot, WeightingSettings("one_hot"))
    assert found[TOP1_CONTEXT] == pytest.approx([0.5, 0.5, 0.2, 0.1, 0.2])
    assert found[ENSEMBLE] == pytest.approx(found[TOP1_LANGUAGE])
