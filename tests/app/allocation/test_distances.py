from __future__ import annotations

import math

import numpy as np
import pytest

from app.allocation.distances import informative, typological_distances

UNKNOWN = math.nan


def published_distance(x: list[float], y: list[float]) -> float:
    """The published definition, feature by feature."""
    xy = sum(a * b for a, b in zip(x, y, strict=True) if not math.isnan(a) and not math.isnan(b))
    xx = sum(a * a for a in x if not math.isnan(a))
    yy = sum(b * b for b in y if not math.isnan(b))
    return 1 - xy / math.sqrt(xx * yy)


def test_missing_values_increase_the_distance() -> None:
    distances = typological_distances(np.array([[1.0, 1.0, 1.0, 1.0], [1.0, UNKNOWN, UNKNOWN, UNKNOWN]]))
    assert distances[0, 1] == pytest.approx(0.5)  # 1 - 1 / sqrt(4 * 1); over shared features alone it would be 0


def test_equals_the_published_definition_on_random_features() -> None:
    rng = np.random.default_rng(3)
    features = rng.choice([0.0, 1 / 3, 0.5, 1.0, UNKNOWN], size=(7, 30))
    distances = typological_distances(features)
    for i in range(7):
        for j in range(7):
            if i != j:
                assert distances[i, j] == pytest.approx(published_distance(*features[[i, j]].tolist()), abs=1e-11)


def test_a_language_of_zeros_is_far_from_all_and_never_nan() -> None:
    distances = typological_distances(np.array([[0.0, 0.0], [1.0, 0.0], [UNKNOWN, UNKNOWN]]))
    assert distances.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


def test_informative_drops_constant_and_unknown_columns_only() -> None:
    features = np.array([[0.0, 1.0, UNKNOWN, 1.0, 0.5], [0.0, 1.0, UNKNOWN, UNKNOWN, 0.5]])
    assert np.array_equal(informative(features), features[:, 3:], equal_nan=True)
