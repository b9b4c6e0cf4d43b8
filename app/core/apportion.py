"""Dividing whole things by shares."""

from __future__ import annotations

from collections.abc import Sequence


def largest_remainders(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to ``shares`` that sum to ``total``; ties go to the first.

    shares: not negative, of any sum above 0.
    """
    whole = sum(shares)
    exact = [total * (share / whole) for share in shares]
    parts = [int(value) for value in exact]
    # Ascending by minus the remainder: the largest comes first, and equal ones by place.
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
