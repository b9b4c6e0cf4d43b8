from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from app.allocation.likeness import Likeness, balance, gain_by_nearness, likeness


def test_equal_cuts_are_alike_whatever_the_experts_are_called() -> None:
    found = likeness(np.array([[0, 2], [2, 0]]))
    assert found == Likeness(pytest.approx(1.0), pytest.approx(1.0))  # type: ignore[arg-type]


def test_the_rand_index_by_hand() -> None:
    # of 6 pairs 2 are together in the one cut, 1 in the other, 1 in both
    found = likeness(np.array([[2, 0, 0], [0, 1, 1]]))
    together_one, together_other, both = 2, 1, 1
    expected = together_one * together_other / 6
    assert found.rand == pytest.approx((both - expected) / ((together_one + together_other) / 2 - expected))
    # mutual information ln 2; entropies ln 2 and 1.5 ln 2; their mean is 1.25 ln 2
    assert found.information == pytest.approx(1 / 1.25)


def test_ten_billion_documents_are_not_too_many() -> None:
    table = np.array([[4, 1], [1, 4]])
    few, many = likeness(table * 1_000_000), likeness(table * 1_000_000_000)
    assert many.rand == pytest.approx(few.rand, abs=1e-5) and many.information == pytest.approx(few.information)


def test_a_cut_that_cuts_nothing_has_nothing_in_common_with_one_that_does() -> None:
    assert likeness(np.array([[3, 4, 5]])) == Likeness(0.0, 0.0)
    assert likeness(np.array([[12]])) == Likeness(1.0, 1.0)


def test_balance_is_the_largest_part_over_the_mean() -> None:
    assert balance(np.array([3, 1])) == 1.5


@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (8, 5), (1, 4)])
def test_likeness_is_that_of_scikit_learn_for_the_things_themselves(sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(sizes[0])
    labels = [random.integers(k, size=97) for k in sizes]
    table = np.zeros(sizes, dtype=np.int64)
    np.add.at(table, tuple(labels), 1)
    expected = Likeness(adjusted_rand_score(*labels), normalized_mutual_info_score(*labels))
    assert likeness(table).rand == pytest.approx(expected.rand)
    assert likeness(table).information == pytest.approx(expected.information, abs=1e-12)


NEAR = np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 5.0], [9.0, 5.0, 0.0]])
"""a is near b and far from c."""


def test_near_company_that_gains_more_correlates_and_a_languages_own_gain_does_not_count() -> None:
    together = ([["aa", "bb"], ["cc"]], {"aa": -0.10, "bb": -0.50, "cc": 0.0})
    apart = ([["aa", "cc"], ["bb"]], {"aa": -0.05, "bb": -0.40, "cc": -0.30})
    other = ([["bb", "cc"], ["aa"]], {"aa": 0.0, "bb": -0.45, "cc": -0.35})
    found = gain_by_nearness(NEAR, ("aa", "bb", "cc"), [together, apart, other])
    # aa: 1 -> -0.10, 9 -> -0.05; bb: 1 -> -0.50, 5 -> -0.45; cc: 9 -> -0.30, 5 -> -0.35: nearer is better for each
    # ranks of the first 1, 2.5, 2.5, 4.5, 4.5, 6, of the second 2 and 5 three times each
    assert found.cases == 6 and found.correlation == pytest.approx(13.5 / math.sqrt(16.5 * 13.5))


def test_one_cut_predicts_nothing() -> None:
    found = gain_by_nearness(NEAR, ("aa", "bb", "cc"), [([["aa", "bb"], ["cc"]], {"aa": -0.1, "bb": -0.2, "cc": 0.0})])
    assert math.isnan(found.correlation) and found.cases == 0
