from __future__ import annotations

import pytest

from app.core.units import format_bytes, format_count, format_seconds


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB"), ((1 << 20) - 1, "1.0 MiB")],
)
def test_bytes_are_shown_in_binary_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (1_500_000, "1.5M"), (2e9, "2B"), (3e12, "3T"), (999.7, "1k"), (999_999, "1M")]
)
def test_counts_are_shown_in_powers_of_a_thousand(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4.2s"), (65, "1m 05s"), (3725, "1h 02m"), (59.97, "1m 00s")])
def test_seconds_are_shown_in_the_two_largest_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
