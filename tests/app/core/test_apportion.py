from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.core.apportion import largest_remainders


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=16).filter(any), st.integers(0, 10**13))
def test_the_parts_sum_to_the_total_and_miss_their_share_by_less_than_one(sizes: list[int], total: int) -> None:
    parts = largest_remainders(sizes, total)
    assert sum(parts) == total
    slack = 1 + total * 1e-12  # shares are floats
    assert all(abs(part - total * size / sum(sizes)) <= slack for part, size in zip(parts, sizes, strict=True))


def test_what_is_left_goes_to_the_largest_remainders_and_ties_to_the_first() -> None:
    assert largest_remainders([0.55, 0.25, 0.20], 10) == [6, 2, 2]  # 5.5, 2.5, 2.0
    assert largest_remainders([16, 38, 46], 10) == [1, 4, 5]  # 1.6, 3.8, 4.6: one goes to .8, one to the tied first
    assert largest_remainders([1, 1], 7) == [4, 3]
