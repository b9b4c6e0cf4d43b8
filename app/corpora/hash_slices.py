"""Many 64-bit hashes in one file, sorted, so that any slice of their range is read without the rest of them.

What is equal lies in the same slice of every file. So a task that reads one slice of all files finds what is equal
there with the memory of that slice, and all slices together are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Read = Callable[[int, int], bytes]
"""The bytes of a file from a place on and up to another, which may lie behind its end."""
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.uint32]

_HEADER = np.dtype("<i8")
_FENCE = np.dtype("<u4")
_RECORD = np.dtype([("hash", "<u8"), ("number", "<u4")])
RECORD_BYTES = _RECORD.itemsize
_HEADER_BYTES = 3 * _HEADER.itemsize
# Fences say where equal shares of the range of hashes begin in a column; a small file has few, or its table would be
# larger than its hashes.
_MOST_FENCES, _RECORDS_A_FENCE = 1024, 64
_BITS = 64


def pack_hashes(columns: Sequence[Hashes]) -> bytes:
    """A file with these columns, all as long: each sorted, with the number from 0 that each hash had in it."""
    rows = columns[0].size
    fences = _fences(rows)
    tables, bodies = [], []
    for column in columns:
        # Stable, so that numbers ascend where hashes are equal.
        order = np.argsort(column, kind="stable")
        records = np.empty(rows, _RECORD)
        records["hash"], records["number"] = column[order], order
        borders = [np.searchsorted(records["hash"], _first(part, fences)) for part in range(fences)]
        tables.append(np.array([*borders, rows], _FENCE).tobytes())
        bodies.append(records.tobytes())
    return b"".join([np.array([len(columns), rows, fences], _HEADER).tobytes(), *tables, *bodies])


@dataclass(frozen=True)
class Slice:
    """Part ``part`` of ``parts``, a power of two, of the range of all hashes, in one column."""

    column: int
    part: int
    parts: int


def read_rows(read: Read) -> int:
    """How many hashes each column of a file has."""
    return int(np.frombuffer(read(0, _HEADER_BYTES), _HEADER)[1])


def read_slice(read: Read, wanted: Slice) -> tuple[Hashes, Numbers]:
    """The hashes of one slice, ascending, and their numbers, ascending where hashes are equal."""
    # Header and table in one read of a remote file, as long as they can be: how long they are the header says.
    head = read(0, _HEADER_BYTES + _FENCE.itemsize * (wanted.column + 1) * (_MOST_FENCES + 1))
    columns, rows, fences = (int(value) for value in np.frombuffer(head[:_HEADER_BYTES], _HEADER))
    table = _HEADER_BYTES + _FENCE.itemsize * (fences + 1) * wanted.column
    borders = np.frombuffer(head, _FENCE, fences + 1, table)
    first = wanted.part * fences // wanted.parts
    # With more slices than fences a slice is less than what two fences enclose, and is cut out below.
    last = max(first + 1, (wanted.part + 1) * fences // wanted.parts)
    body = _HEADER_BYTES + _FENCE.itemsize * (fences + 1) * columns + RECORD_BYTES * rows * wanted.column
    data = read(body + RECORD_BYTES * int(borders[first]), body + RECORD_BYTES * int(borders[last]))
    records = np.frombuffer(data, _RECORD)
    start = np.searchsorted(records["hash"], _first(wanted.part, wanted.parts))
    # The border behind the last slice, 2^64, is no 64-bit number.
    is_last = wanted.part + 1 == wanted.parts
    end = records.size if is_last else np.searchsorted(records["hash"], _first(wanted.part + 1, wanted.parts))
    return records["hash"][start:end].astype(np.uint64), records["number"][start:end].astype(np.uint32)


def slices_for(rows: int, most: int) -> int:
    """Into how many slices to cut hashes of so many rows so that about ``most`` are in each; a power of two."""
    return 1 << max(0, -(-rows // most) - 1).bit_length()


def repeats(hashes: Hashes) -> NDArray[np.bool_]:
    """Which hashes equal an earlier one."""
    order = np.argsort(hashes, kind="stable")
    found = np.zeros(hashes.size, dtype=np.bool_)
    ordered = hashes[order]
    found[order[1:]] = ordered[1:] == ordered[:-1]
    return found


def count_repeats(trained: Hashes, held_out: Hashes) -> tuple[int, int]:
    """How many of the first equal an earlier one of them, and how many of the second equal any of them."""
    unique = np.unique(trained)
    return int(trained.size - unique.size), int(np.isin(held_out, unique).sum())


def pack_marks(marks: Sequence[Numbers]) -> bytes:
    """A file with the numbers that are marked in each of several units; ``read_marks`` reads those of one."""
    ends = np.cumsum([0, *(numbers.size for numbers in marks)])
    return ends.astype(_HEADER).tobytes() + b"".join(numbers.astype(_FENCE).tobytes() for numbers in marks)


def read_marks(read: Read, unit: int, units: int) -> Numbers:
    """The numbers that are marked in one of so many units."""
    start, end = np.frombuffer(read(8 * unit, 8 * unit + 16), _HEADER)
    body = 8 * (units + 1)
    return np.frombuffer(read(body + 4 * int(start), body + 4 * int(end)), _FENCE).astype(np.uint32)


def _fences(rows: int) -> int:
    # A power of two as the number of slices is, so that their borders meet.
    return min(_MOST_FENCES, max(1, (1 << (rows // _RECORDS_A_FENCE).bit_length()) >> 1))


def _first(part: int, parts: int) -> np.uint64:
    """The least hash of a slice."""
    return np.uint64(part * (1 << _BITS) // parts)
