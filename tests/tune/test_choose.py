from __future__ import annotations

import math

import numpy as np
import pytest

from tune.choose import paired_difference, pareto_front


def figures(*rows: tuple[float, float, float]) -> list[dict[str, object]]:
    names = ("mean_log_ratio", "active_parameters", "training_seconds")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_on_the_front_is_what_nothing_beats_in_everything() -> None:
    found = figures((-0.2, 10, 5), (-0.1, 5, 5), (-0.1, 5, 6), (-0.05, 9, 9), (-0.2, 10, 5))
    assert pareto_front(found) == [0, 1, 4]
    assert pareto_front(figures((0.3, 1, 1))) == [0]


def test_a_better_model_on_the_same_documents_is_found_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    documents = {}
    for lang in ("a", "b"):
        base = -rng.uniform(20, 40, size=200)
        documents[lang] = (np.stack([base + 1.0 + rng.normal(0, 0.1, 200), base], axis=1), np.full(200, 10))
    mean, low, high = paired_difference(documents, samples=400, seed=0)
    assert low < mean < high < 0 and mean == pytest.approx(-0.1, abs=0.005)


def test_equal_models_do_not_differ() -> None:
    documents = {"a": (np.repeat(-np.arange(1.0, 21.0)[:, None], 2, axis=1), np.full(20, 4))}
    assert paired_difference(documents, 50, 0) == (0.0, 0.0, 0.0)
    assert math.isclose(-documents["a"][0].sum(axis=0)[0] / 80, 210 / 80)
