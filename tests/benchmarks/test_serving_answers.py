"""How answers are judged."""

from __future__ import annotations

import pytest

from benchmarks.serving_answers import Answer


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("abcd", "right"),
        ("abc", "near tie"),
        ("abxy", "near tie"),
        ("axcd", "wrong"),
        ("abcde", "wrong"),
        ("", "wrong"),
    ],
)
def test_an_answer_may_leave_what_is_expected_only_where_rounding_decides(told: str, found: str) -> None:
    assert Answer(["a", "b", "cd"], [2.0, 0.5, 5e-5]).judge(told) == found
