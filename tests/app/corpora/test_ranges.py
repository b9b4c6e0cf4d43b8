from __future__ import annotations

import itertools

import pytest

from app.corpora.base import Span
from app.corpora.ranges import byte_ranges, group_ranges, range_lines
from app.corpora.streams import lines


def _cut(data: bytes, borders: list[int], max_bytes: int = 100) -> list[list[bytes | None]]:
    """The lines of each range between the borders; blocks of 3 bytes."""

    def some(start: int, end: int) -> list[bytes]:
        return [data[at : min(at + 3, end)] for at in range(start, end, 3)]

    edges = sorted({0, *borders, len(data)})
    return [
        list(range_lines(some(start, end), some(end, len(data)), start == 0, max_bytes))
        for start, end in itertools.pairwise(edges)
    ]


def test_bytes_are_cut_evenly_and_none_is_left_out() -> None:
    assert byte_ranges(10, 4) == [Span(0, 3), Span(3, 6), Span(6, 10)]
    assert byte_ranges(8, 8) == [Span(0, 8)]


def test_items_are_grouped_up_to_the_most_and_a_large_one_is_alone() -> None:
    assert group_ranges([3, 3, 3, 9, 1, 1], 6) == [Span(0, 2), Span(2, 3), Span(3, 4), Span(4, 6)]
    assert group_ranges([], 6) == []


def test_a_line_belongs_to_the_range_with_the_byte_before_it() -> None:
    #        0123 456 789
    data = b"aaa\nbb\ncc\n"
    assert _cut(data, [2]) == [[b"aaa"], [b"bb", b"cc"]]
    assert _cut(data, [3]) == [[b"aaa"], [b"bb", b"cc"]]
    assert _cut(data, [4]) == [[b"aaa", b"bb"], [b"cc"]]  # the break is in the first range, so is what follows it
    assert _cut(data, [7]) == [[b"aaa", b"bb", b"cc"], []]


def test_a_last_line_without_its_break_counts_and_carriage_returns_stay() -> None:
    assert _cut(b"a\r\nbb\r\nc", [2, 3]) == [[b"a\r"], [b"bb\r"], [b"c"]]
    assert _cut(b"a\r\nbb\r\nc", [7]) == [[b"a\r", b"bb\r", b"c"], []]


def test_blank_lines_count_on_both_sides_of_a_border() -> None:
    assert _cut(b"a\n\n\nb", [2]) == [[b"a", b""], [b"", b"b"]]
    assert _cut(b"\n\n", [1]) == [[b"", b""], []]


def test_a_line_longer_than_a_range_is_read_by_the_range_in_which_it_begins() -> None:
    assert _cut(b"a\nbbbbbbbbbb\nc\n", [2, 5, 8]) == [[b"a", b"bbbbbbbbbb"], [], [], [b"c"]]
    assert _cut(b"a\nbbbbbbbbbb\nc\n", [2, 5, 8], max_bytes=4) == [[b"a", None], [], [], [b"c"]]


@pytest.mark.parametrize("data", [b"\n", b"abc", b"a\nbc\n\n\ndefghijkl\nm", b"\r\n\r\nxyz\r\n", b"abcdefgh\nij\n"])
def test_any_two_cuts_give_the_lines_of_the_whole(data: bytes) -> None:
    whole = list(lines([data], 5))
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            assert [line for found in _cut(data, [first, second], 5) for line in found] == whole


def test_what_follows_is_not_read_further_than_the_open_line() -> None:
    def beyond() -> itertools.chain[bytes]:
        return itertools.chain([b"b\nc"], (pytest.fail("read on") for _ in [0]))

    assert list(range_lines([b"a\nb"], beyond(), True, 9)) == [b"a", b"bb"]
