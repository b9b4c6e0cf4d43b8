"""JSON objects that do not stand one on a line: an array, objects over many lines; in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

# Possessive: nothing is kept for stepping back, however long a string is.
_IN_STRING = re.compile(rb'(?:[^"\\\n]|\\[^\n])*+')
_OUTSIDE = re.compile(rb'["{}\[\],]')
_WHITE = b" \t\r\n\xef\xbb\xbf"
"""What may stand between values: white space, and the byte order marks of files that were joined."""


def is_spread(head: bytes) -> bool:
    """Whether a file that begins so holds values that are not one object on a line.

    That is an array, or an object that does not end on its line while the next line begins no other.
    """
    first, _, others = head.lstrip(_WHITE).partition(b"\n")
    if first.startswith(b"["):
        return True
    following = others.lstrip(_WHITE)
    return first.startswith(b"{") and bool(following) and not following.startswith(b"{") and not _is_json(first)


def spread_values(source: Iterable[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """The objects of a stream of JSON values or of the arrays in it; None for one longer than ``max_bytes``.

    A string with a bare line break is an error of JSON: what is held then is given as it is, and reading goes on
    after the break, so that one missing quote does not turn the rest of the file inside out. Anything between the
    values that is neither white space, comma nor bracket is given as a value too, to be rejected.
    """
    split = _Splitter(max_bytes)
    for block in source:
        yield from split.feed(block)
    yield from split.end()


class _Splitter:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._text = bytearray()  # of the value that is open, or of what stands between values
        self._seen = 0  # of that text
        self._depth = 0
        self._in_string = False
        self._is_too_long = False

    def feed(self, block: bytes) -> Iterator[bytes | None]:
        self._text += block
        while self._step():
            if self._depth == 0 and not self._in_string:
                yield from self._value()
        if self._depth == 0 and not self._in_string:
            # White space is not held, however much of it there is.
            self._text = bytearray(self._text.lstrip(_WHITE))
            self._seen = len(self._text)
        if len(self._text) > self._max_bytes:  # what is held is dropped, and what it opened is remembered
            self._is_too_long = True
            del self._text[: self._seen]
            self._seen = 0

    def end(self) -> Iterator[bytes | None]:
        self._seen = len(self._text)
        yield from self._value()

    def _step(self) -> bool:
        """Go to the next mark; False if there is none in what is held."""
        if self._in_string:
            found = _IN_STRING.match(self._text, self._seen)
            self._seen = found.end() if found else self._seen
            mark = self._text[self._seen : self._seen + 2]
            if not mark or mark == b"\\":  # the other half of the escape is in the next block
                return False
            self._in_string = False
            # Not a quote but a bare line break: the value ends here, as `spread_values` says.
            self._depth = self._depth if mark.startswith(b'"') else 0
            self._seen += 1
            return True
        following = _OUTSIDE.search(self._text, self._seen)
        if following is None:
            self._seen = len(self._text)
            return False
        start = following.start()
        if self._depth == 0 and following.group() in b'"{' and self._text[:start].strip(_WHITE):
            self._seen = start  # what stands before the value is none of it
        else:
            self._take(following.group(), start)
        return True

    def _take(self, mark: bytes, start: int) -> None:
        self._seen = start + 1
        if mark == b'"':
            self._in_string = True
        elif self._depth == 0 and mark in b"[],":  # between values: not part of one
            self._text[start : start + 1] = b" "
        elif mark in b"{[":
            self._depth += 1
        elif mark in b"}]":
            self._depth = max(0, self._depth - 1)

    def _value(self) -> Iterator[bytes | None]:
        value = bytes(self._text[: self._seen]).strip(_WHITE)
        del self._text[: self._seen]
        self._seen = 0
        if self._is_too_long or len(value) > self._max_bytes:
            yield None
        elif value:
            yield value
        self._is_too_long = False


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
