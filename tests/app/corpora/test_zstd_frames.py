from __future__ import annotations

import struct

import pyarrow as pa
import pytest

from app.corpora.zstd_frames import frame_starts

ONE, TWO = b'{"text": "eins"}\n' * 40, b"".join(b"%d\n" % (number**3 % 9973) for number in range(60_000))


def _frame(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def _skipped(data: bytes, kind: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + kind, len(data)) + data


def _starts(data: bytes, longest: int = 1 << 30) -> tuple[list[int], int]:
    """Where the frames begin, and how often the file was looked at."""
    reads = []

    def read(at: int, length: int) -> bytes:
        reads.append(at)
        return data[at : at + length]

    return frame_starts(read, len(data), longest), len(reads)


def test_frames_follow_one_another_from_block_to_block() -> None:
    one, two = _frame(ONE), _frame(TWO)
    assert len(TWO) > 2 * (128 << 10)  # several blocks
    assert _starts(one + two + one)[0] == [0, len(one), len(one + two), len(one + two + one)]


def test_a_checksum_belongs_to_its_frame() -> None:
    one = bytearray(_frame(ONE))
    one[4] |= 4
    assert _starts(bytes(one) + b"sum!" + _frame(TWO))[0][:2] == [0, len(one) + 4]


def test_sizes_that_stand_before_the_frames_are_believed_where_they_lead_to_a_frame() -> None:
    frames = [_frame(TWO)] * 3
    told = b"".join(_skipped(struct.pack("<I", len(frame))) + frame for frame in frames)
    each = 12 + len(frames[0])
    assert _starts(told)[0] == [12, 12 + each, 12 + 2 * each, 3 * each]
    wrong = b"".join(_skipped(struct.pack("<I", 77)) + frame for frame in frames)
    assert _starts(wrong)[0] == _starts(told)[0]
    assert _starts(told)[1] < _starts(wrong)[1]


def test_the_table_of_a_seekable_file_is_enough() -> None:
    frames = [_frame(ONE), _frame(TWO), _frame(ONE)]
    rows = b"".join(struct.pack("<II", len(frame), 0) for frame in frames)
    data = b"".join(frames) + _skipped(rows + struct.pack("<IBI", 3, 0, 0x8F92EAB1), 0xE)
    assert _starts(data) == ([0, len(frames[0]), len(frames[0] + frames[1]), len(data)], 2)


@pytest.mark.parametrize("data", [b"no zstd", _frame(TWO)[:-9], _frame(ONE) + b"rest", _frame(ONE) + _frame(TWO)[:7]])
def test_what_is_torn_or_no_zstd_is_not_cut(data: bytes) -> None:
    assert _starts(data)[0] == []


def test_the_end_of_a_long_frame_is_not_looked_for() -> None:
    assert _starts(_frame(TWO), 1000) == ([], 3)
