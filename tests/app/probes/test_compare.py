from __future__ import annotations

import numpy as np
import pytest

from app.probes.compare import probe_distances


@pytest.mark.parametrize("probe", ["deviation", "gradient"])
def test_vectors_are_compared_by_one_minus_cosine(probe: str) -> None:
    found = probe_distances(probe, [np.array([1.0, 0.0]), np.array([0.0, 3.0]), np.array([2.0, 2.0])])
    half = 1 - np.sqrt(0.5)
    assert found == pytest.approx(np.array([[0, 1, half], [1, 0, half], [half, half, 0]]))


def test_representations_are_compared_around_their_mean() -> None:
    shift = np.array([10.0, 10.0])
    vectors = [np.array([1.0, 0.0]), np.array([-1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.0, -1.0])]
    found = probe_distances("representation", [vector + shift for vector in vectors])
    assert found[0] == pytest.approx([0.0, 2.0, 1.0, 1.0])


def test_languages_that_help_each_other_are_near() -> None:
    # training on 0 lowers the loss on 1 by 0.4, on 1 that on 0 by 0.2; 2 hurts both
    change = [np.array([-1.0, -0.4, 0.1]), np.array([-0.2, -1.0, 0.3]), np.array([0.1, 0.2, -1.0])]
    found = probe_distances("transfer", change)
    assert found == pytest.approx(np.array([[0, -0.3, 0.1], [-0.3, 0, 0.25], [0.1, 0.25, 0]]))
