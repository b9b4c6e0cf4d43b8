"""Where a file may be cut so that several tasks read it, and the lines that then belong to each.

A line belongs to the range that holds the byte before its first one, which is the line break that ends the line before;
the first line of a file belongs to the first range. So no range needs to look back, and each line is read once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from app.corpora.base import Span


def byte_ranges(size: int, most: int) -> list[Span]:
    """A file's bytes in as few parts of nearly equal length as keep within ``most`` bytes each."""
    parts = math.ceil(size / most)
    borders = [size * number // parts for number in range(parts + 1)]
    return [Span(start, end) for start, end in itertools.pairwise(borders)]


def group_ranges(sizes: Sequence[int], most: int) -> list[Span]:
    """Successive items of these sizes, grouped up to ``most`` bytes; an item that is larger is alone."""
    spans: list[Span] = []
    start = held = 0
    for number, size in enumerate(sizes):
        if number > start and held + size > most:
            spans.append(Span(start, number))
            start, held = number, 0
        held += size
    return [*spans, Span(start, len(sizes))] if sizes else []


def range_lines(
    inside: Iterable[bytes], beyond: Iterable[bytes], is_first: bool, max_bytes: int
) -> Iterator[bytes | None]:
    """The lines of a range without their end; None for one longer than ``max_bytes``, which is not held.

    inside: the bytes of the range, some at a time. ``beyond``: those that follow it; of them are read those up to the
    first line break, unless no line of the range is open.
    """
    held = bytearray()
    is_long, is_ours = False, is_first
    for block in inside:
        first, *others = block.split(b"\n")
        held += first if is_ours else b""
        for following in others:
            if is_ours:
                yield None if is_long or len(held) > max_bytes else bytes(held)
            held, is_long, is_ours = bytearray(following), False, True
        if len(held) > max_bytes:
            held, is_long = bytearray(), True
    if not is_ours:  # the range is the middle of one line
        return
    is_ended = False
    for block in beyond:
        rest, line_break, _ = block.partition(b"\n")
        held += rest
        if len(held) > max_bytes:
            held, is_long = bytearray(), True
        if line_break:
            is_ended = True
            break
    # A blank line counts if it has its break; what follows the last break of a file is no line.
    if held or is_long or is_ended:
        yield None if is_long else bytes(held)
