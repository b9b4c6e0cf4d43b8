from __future__ import annotations

import pytest

from benchmarks.scale_fit import exponent, is_bounded, is_linear

MIB = 1 << 20


def test_the_exponent_is_the_slope_of_the_logarithms_above_the_base() -> None:
    # Above a base of 5 s: 2, 8 and 32 s for 4, 16 and 64 documents grow as they do; 2, 16 and 128 s as n to 1.5.
    assert exponent({4: 7.0, 16: 13.0, 64: 37.0}, 5.0) == pytest.approx(1.0)
    assert exponent({4: 7.0, 16: 21.0, 64: 133.0}, 5.0) == pytest.approx(1.5)


def test_the_slope_is_by_least_squares_over_all_sizes() -> None:
    # log4: x = 1, 2, 3 and y = 1, 1, 3; slope = ((-1)(-2/3) + 0 + (1)(4/3)) / 2 = 1.
    assert exponent({4: 4.0, 16: 4.0, 64: 64.0}, 0.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "linear"),
    [
        ({4: 5.1, 16: 9.9}, True),  # never twice the base: no work that could follow the documents
        ({4: 4.9, 16: 40.0}, False),  # less than the base, then much more: nothing is known
        ({16: 40.0}, False),  # one size
    ],
)
def test_nothing_is_fitted_where_there_is_nothing_to_fit(seconds: dict[int, float], linear: bool) -> None:
    assert exponent(seconds, 5.0) is None
    assert is_linear(seconds, 5.0) is linear


def test_sizes_that_took_no_more_than_the_base_are_left_out_of_the_fit() -> None:
    assert exponent({4: 4.9, 16: 8.0, 64: 17.0}, 5.0) == pytest.approx(1.0)
    assert not is_linear({4: 4.9, 16: 8.0, 64: 53.0}, 5.0), "an exponent of 2"


def test_work_is_linear_up_to_an_exponent_of_1_05() -> None:
    assert is_linear({4: 4.0**1.04, 16: 16.0**1.04}, 0.0)
    assert not is_linear({4: 4.0**1.06, 16: 16.0**1.06}, 0.0)


def test_a_peak_may_grow_by_5_percent_or_32_mib_for_each_factor_of_four() -> None:
    assert is_bounded({1: 100 * MIB, 4: 132 * MIB, 16: 164 * MIB})
    assert not is_bounded({1: 100 * MIB, 4: 133 * MIB})
    assert is_bounded({1: 1000 * MIB, 4: 1050 * MIB}) and not is_bounded({1: 1000 * MIB, 4: 1051 * MIB})


def test_a_step_of_two_has_half_of_that_and_one_size_shows_nothing() -> None:
    assert is_bounded({1: 100 * MIB, 2: 116 * MIB}) and not is_bounded({1: 100 * MIB, 2: 117 * MIB})
    assert not is_bounded({1: 100 * MIB})
