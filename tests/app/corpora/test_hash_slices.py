from __future__ import annotations

import numpy as np
import pytest

from app.corpora.hash_slices import (
    Hashes,
    Slice,
    count_repeats,
    pack_hashes,
    pack_marks,
    read_marks,
    read_rows,
    read_slice,
    repeats,
    slices_for,
)

HIGH = 1 << 63


class _File:
    """Bytes that are read by range; what was asked for is counted."""

    def __init__(self, data: bytes) -> None:
        self.data, self.fetched = data, 0

    def __call__(self, start: int, end: int) -> bytes:
        self.fetched += len(self.data[start:end])
        return self.data[start:end]


def _hashes(*values: int) -> Hashes:
    return np.array(values, np.uint64)


def _slice(file: _File, column: int, part: int, parts: int) -> list[tuple[int, int]]:
    hashes, numbers = read_slice(file, Slice(column, part, parts))
    return list(zip(hashes.tolist(), numbers.tolist(), strict=True))


def test_a_slice_holds_its_share_of_all_possible_hashes_with_the_places_they_had() -> None:
    file = _File(pack_hashes([_hashes(HIGH + 5, 7, 0, 7), _hashes(1, 2, HIGH, 2 * HIGH - 1)]))
    assert read_rows(file) == 4
    assert _slice(file, 0, 0, 1) == [(0, 2), (7, 1), (7, 3), (HIGH + 5, 0)]
    assert _slice(file, 0, 0, 2) == [(0, 2), (7, 1), (7, 3)]
    assert _slice(file, 1, 1, 2) == [(HIGH, 2), (2 * HIGH - 1, 3)]
    assert _slice(file, 1, 2, 4) == [(HIGH, 2)]


@pytest.mark.parametrize("rows", [0, 1, 1000, 200_000])
@pytest.mark.parametrize("parts", [1, 2, 64, 4096])
def test_all_slices_together_are_the_column(rows: int, parts: int) -> None:
    values = np.random.default_rng(rows).integers(0, 2**64, rows, np.uint64)
    file = _File(pack_hashes([values, values[::-1]]))
    found = [read_slice(file, Slice(1, part, parts)) for part in range(parts)]
    hashes = np.concatenate([each for each, _ in found])
    assert np.array_equal(hashes, np.sort(values))
    assert np.array_equal(values[::-1][np.concatenate([numbers for _, numbers in found])], hashes)


def test_a_slice_is_read_without_the_others() -> None:
    file = _File(pack_hashes([np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)]))
    read_slice(file, Slice(0, 3, 64))
    assert file.fetched < len(file.data) / 64 + 6000


def test_slices_are_so_many_that_none_is_much_too_large() -> None:
    assert [slices_for(rows, 10) for rows in (0, 10, 11, 20, 21, 40, 41)] == [1, 1, 2, 2, 4, 4, 8]


def test_what_repeats_an_earlier_one_is_marked_and_counted() -> None:
    assert repeats(_hashes(5, 3, 5, 5, 4, 3)).tolist() == [False, False, True, True, False, True]
    assert count_repeats(_hashes(5, 3, 5, 5), _hashes(5, 5, 9)) == (2, 2)
    assert count_repeats(_hashes(), _hashes(1, 1)) == (0, 0)


def test_the_marks_of_each_unit_are_found_again() -> None:
    marks = [np.array(numbers, np.uint32) for numbers in ([4, 9], [], [0])]
    file = _File(pack_marks(marks))
    assert [read_marks(file, unit, 3).tolist() for unit in range(3)] == [[4, 9], [], [0]]
