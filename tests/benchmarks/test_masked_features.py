from __future__ import annotations

import numpy as np

from benchmarks.masked_features import Ranks, masked_ranks

FEATURES = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], dtype=float)


def test_with_all_features_kept_the_nearest_is_the_nearest() -> None:
    assert masked_ranks(FEATURES, 4, 2).ranks == [0] * 8


def test_with_fewer_features_the_nearest_is_sometimes_another() -> None:
    found = masked_ranks(FEATURES, 1, 30)
    assert len(found.ranks) == 120 and 0 < found.within(1) < 1 and found.within(3) == 1.0


def test_languages_that_know_too_little_are_left_out() -> None:
    few = FEATURES.copy()
    few[0, 0] = np.nan
    assert len(masked_ranks(few, 4, 5).ranks) == 15


def test_shares_count_ranks_below() -> None:
    found = Ranks(4, [0, 0, 2, 4])
    assert [found.within(count) for count in (1, 3, 5)] == [0.5, 0.75, 1.0]
