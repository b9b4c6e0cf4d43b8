from __future__ import annotations

import numpy as np
import pytest

from app.probes.layers import choose_layers


def test_layers_of_the_largest_mean_change_are_chosen() -> None:
    # Means 2, 1, 3.5, 6: scaled 0.2, 0, 0.5, 1.
    found = choose_layers([np.array([1.0, 1.0, 3.0, 4.0]), np.array([3.0, 1.0, 4.0, 8.0])])
    assert found.mean == pytest.approx([2.0, 1.0, 3.5, 6.0]) and found.scaled == pytest.approx([0.2, 0.0, 0.5, 1.0])
    assert found.chosen == (3,)


def test_a_layer_at_the_bound_is_chosen_and_one_below_is_not() -> None:
    deviations = [np.array([0.0, 6.0, 5.99, 10.0])]
    assert choose_layers(deviations).chosen == (1, 3)
    assert choose_layers(deviations, least=0.59).chosen == (1, 2, 3)


@pytest.mark.parametrize("layers", [1, 4])
def test_where_all_layers_change_alike_all_are_chosen(layers: int) -> None:
    found = choose_layers([np.full(layers, 2.0), np.full(layers, 4.0)])
    assert found.chosen == tuple(range(layers)) and np.isfinite(found.scaled).all()
