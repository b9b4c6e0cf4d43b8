"""Rows of a JSON file: one object on a line as it should be, and as people have them."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

from app.corpora.base import SAMPLE_CHARACTERS, Reason, Row, Span
from app.corpora.json_values import is_spread, spread_values
from app.corpora.ranges import range_lines
from app.corpora.streams import CORRUPT, blocks, lines, span_blocks

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def json_rows(uri: str, max_bytes: int, span: Span | None = None) -> Iterator[Row]:
    """Rows of a plain or compressed file of JSON objects; rows longer than ``max_bytes`` are not read.

    Objects may stand one on a line, several on a line, in one array or spread over lines. Rows are numbered by line,
    or by value where they are spread. Of a span are read the lines that begin in it, of a file with ``is_by_line``;
    then comes a row with the reason ``range_end``. Raises what ``blocks`` raises.
    """
    if span is not None:
        inside, beyond = span_blocks(uri, span)
        number = 0
        for number, piece in enumerate(range_lines(inside, beyond, span.start == 0, max_bytes), start=1):
            yield from _rows_of(number, piece, max_bytes)
        yield Row(number + 1, {}, "range_end")
        return
    head, whole = _with_head(blocks(uri))
    if head.startswith(_UTF_16):
        yield Row(1, {}, "bad_encoding", "UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
        return
    pieces = spread_values(whole, max_bytes) if is_spread(head) else lines(whole, max_bytes)
    for number, piece in enumerate(pieces, start=1):
        yield from _rows_of(number, piece, max_bytes)


def is_by_line(uri: str) -> bool:
    """Whether a file holds its values one line after the other, by its beginning. Raises what ``blocks`` raises."""
    head, whole = _with_head(blocks(uri))
    whole.close()
    return not head.startswith(_UTF_16) and not is_spread(head)


def _rows_of(number: int, piece: bytes | None, max_bytes: int) -> Iterator[Row]:
    if piece is None:
        yield Row(number, {}, "line_too_long", f"more than {max_bytes} bytes")
    elif piece := piece.removeprefix(_BYTE_ORDER_MARK).strip():
        yield from _rows(number, piece)


def _with_head(source: Iterator[bytes]) -> tuple[bytes, Generator[bytes]]:
    """The first bytes, and all of them again; where the stream is torn, the error comes after what is before it."""
    held, error = b"", None
    try:
        while len(held) < _HEAD_BYTES and (block := next(source, b"")):
            held += block
    except CORRUPT as torn:
        error = torn

    def whole() -> Generator[bytes]:
        yield held
        if error is not None:
            raise error
        yield from source

    return held, whole()


def _rows(number: int, piece: bytes) -> Iterator[Row]:
    def unusable(reason: Reason) -> Row:
        # A character has at most four bytes.
        return Row(number, {}, reason, piece[: 4 * SAMPLE_CHARACTERS].decode("utf-8", "replace"))

    try:
        values = _values(piece.decode("utf-8"))
    except UnicodeDecodeError:
        yield unusable("bad_encoding")
        return
    # RecursionError: brackets nested deeper than Python can follow.
    except (ValueError, RecursionError):
        yield unusable("bad_json")
        return
    for value in values:
        yield Row(number, value) if isinstance(value, dict) else unusable("bad_json")


def _values(text: str) -> list[Any]:
    """The JSON values of a line: one, but for files that were joined without a line break between them."""
    try:
        # The usual line; whatever fails here is read again, slower.
        return [json.loads(text)]
    except ValueError:
        decoder = json.JSONDecoder(parse_int=_integer)
        values, at = [], 0
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            values.append(value)
            at = len(text) - len(text[at:].lstrip(" \t\r\ufeff"))
        return values


def _integer(digits: str) -> int | str:
    """A number, or its digits where Python refuses it (over 4300 digits): it is in a column we do not read as such."""
    try:
        return int(digits)
    except ValueError:
        return digits
