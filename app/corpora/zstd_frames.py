"""Where the frames of a zstd file begin, without decompressing it (RFC 8878; zstd's seekable format).

Frames are found by the table at the end of a seekable file, by the sizes that pzstd writes before each frame, and else
from block to block, each of which says how long it is.
"""

from __future__ import annotations

from collections.abc import Callable

ReadAt = Callable[[int, int], bytes]
"""At most so many bytes (second) from a place on (first)."""

_MAGIC, _SKIPPABLE = 0xFD2FB528, 0x184D2A50
_SKIPPABLE_MASK = 0xFFFFFFF0
_SEEKABLE = 0x8F92EAB1
_TABLE_FOOTER, _SKIPPABLE_HEADER = 9, 8
_DICTIONARY_BYTES, _CONTENT_BYTES = (0, 1, 2, 4), (0, 2, 4, 8)
_RUN, _RESERVED = 1, 3
"""Kinds of block: one byte that is repeated; one that does not exist."""


def frame_starts(read: ReadAt, size: int, longest: int) -> list[int]:
    """Places of the frames of a file of ``size`` bytes, ascending, then its end; empty if it is not cut that way.

    longest: bytes of a frame beyond which its end is not looked for any more.
    """
    return _by_table(read, size) or _by_walking(read, size, longest)


def _by_table(read: ReadAt, size: int) -> list[int]:
    # Number of frames (4 bytes), descriptor (1), magic (4).
    footer = read(max(0, size - _TABLE_FOOTER), _TABLE_FOOTER)
    if len(footer) < _TABLE_FOOTER or _number(footer[5:]) != _SEEKABLE:
        return []
    # An entry has two sizes of 4 bytes, packed and unpacked, and a checksum where the descriptor says so.
    frames, entry = _number(footer[:4]), 12 if footer[4] & 0x80 else 8
    first = size - _TABLE_FOOTER - frames * entry
    table = read(first, frames * entry) if first > 0 else b""
    starts = [0]
    for at in range(0, len(table), entry):
        starts.append(starts[-1] + _number(table[at : at + 4]))
    # Believed if the frames end where the table's own header begins; decoders skip the table behind the last.
    return [*starts[:-1], size] if starts[-1] == first - _SKIPPABLE_HEADER and frames else []


def _by_walking(read: ReadAt, size: int, longest: int) -> list[int]:
    starts, at, told = [], 0, 0
    while at < size:
        # The longest header: magic, descriptor, window, dictionary (4), content size (8).
        head = read(at, 18)
        magic = _number(head[:4])
        if magic & _SKIPPABLE_MASK == _SKIPPABLE and len(head) >= _SKIPPABLE_HEADER:
            length = _number(head[4:8])
            # pzstd's frame of 4 bytes: the packed size of the frame that follows.
            told = _number(head[8:12]) if length == 4 else 0
            at += _SKIPPABLE_HEADER + length
            continue
        if magic != _MAGIC:
            return []
        starts.append(at)
        # Four bytes may be anything; they count if they lead to a frame or to the end.
        is_told = told and (at + told == size or _is_magic(read(at + told, 4)))
        at, told = (at + told if is_told else _end_of_frame(read, at, head, longest)), 0
        if not at:
            return []
    return [*starts, size] if at == size else []


def _end_of_frame(read: ReadAt, start: int, head: bytes, longest: int) -> int:
    """0 where the frame is torn, of no known form or too long."""
    described = head[4] if len(head) > 4 else 0
    is_single, has_checksum = described >> 5 & 1, described >> 2 & 1
    # Flag 0 means no content size, but one byte in a frame of a single segment, which has no window byte.
    content = _CONTENT_BYTES[described >> 6] or is_single
    at = start + 5 + (not is_single) + _DICTIONARY_BYTES[described & 3] + content
    while at - start <= longest:
        block = read(at, 3)
        if len(block) < 3:
            return 0
        header = _number(block)
        kind = header >> 1 & 3
        if kind == _RESERVED:
            return 0
        # A run stores its one byte, whatever size it unpacks to.
        at += 3 + (1 if kind == _RUN else header >> 3)
        if header & 1:
            return at + 4 * has_checksum
    return 0


def _is_magic(data: bytes) -> bool:
    return len(data) == 4 and (_number(data) == _MAGIC or _number(data) & _SKIPPABLE_MASK == _SKIPPABLE)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
