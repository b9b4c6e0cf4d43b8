"""Bytes of one file, decompressed, cut into lines and in bounded memory whatever the file holds."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa

from app.core.errors import CorpusError
from app.corpora.base import Span

_UNPACKERS: Mapping[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Of the standard library; each has ``read1``, which returns what there is: rows before a torn end are not lost."""
_ARROW_CODECS = {".zst": "zstd", ".lz4": "lz4"}
"""Read by Arrow; not the zstandard package, which takes the end of a truncated file for the end of the text."""
LINE_SUFFIXES = (".jsonl", ".ndjson", ".json", *_UNPACKERS, *_ARROW_CODECS)
"""Files read as JSON, in any case; a compressed one may have any name before the last suffix, but for archives."""
ARCHIVES = tuple(f".tar{suffix}" for suffix in ("", *_UNPACKERS, *_ARROW_CODECS))

_BLOCK_BYTES = 1 << 16
"""Decompressed at a time; at most this much of a torn stream is lost besides the torn line."""
CORRUPT = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, pa.ArrowException, OSError)
"""What a torn or foreign stream may raise; pass it through ``reject_corrupt``."""


def local_path(uri: str) -> Path | None:
    """The place of a file without a protocol, literally: ``[``, ``*`` and ``::`` mean nothing here. None for a URI."""
    return None if "://" in uri else Path(uri).expanduser().absolute()


@contextlib.contextmanager
def open_binary(uri: str) -> Iterator[IO[bytes]]:
    """The raw bytes of a path or URI. Raises CorpusError if its file system is not installed."""
    if path := local_path(uri):
        with path.open("rb") as stream:
            yield stream
        return
    try:
        filesystem, name = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise CorpusError(f"{uri}: {error}; install what this kind of address needs, or use a local path") from error
    with filesystem.open(name, "rb") as stream:
        yield stream


def blocks(uri: str) -> Iterator[bytes]:
    """The decompressed bytes of a file, some at a time. Raises one of ``CORRUPT`` where the stream is torn."""
    with open_binary(uri) as raw, contextlib.ExitStack() as stack:
        suffix = f".{uri.rpartition('.')[2].lower()}"
        if suffix in _UNPACKERS:
            unpacked = stack.enter_context(_UNPACKERS[suffix](raw, "rb"))
            yield from iter(lambda: unpacked.read1(_BLOCK_BYTES), b"")
        elif suffix in _ARROW_CODECS:
            source: Any = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), _ARROW_CODECS[suffix])
            yield from iter(lambda: bytes(source.read(_BLOCK_BYTES)), b"")
        else:
            yield from iter(lambda: raw.read(_BLOCK_BYTES), b"")


def span_blocks(uri: str, span: Span) -> tuple[Iterator[bytes], Iterator[bytes]]:
    """The decompressed bytes of a part of a file, and those that follow it to the file's end, some at a time.

    span: bytes of a plain file, or whole frames of a zstd file. Raises what ``blocks`` raises.
    """
    # Generators: the second opens the file only if a line is open where the span ends.
    return _between(uri, span.start, span.end), _between(uri, span.end, None)


def _between(uri: str, start: int, end: int | None) -> Iterator[bytes]:
    with open_binary(uri) as raw:
        stretch = Stretch(raw, start, end)
        if not uri.lower().endswith(".zst"):
            yield from iter(lambda: stretch.read(_BLOCK_BYTES), b"")
            return
        source: Any = pa.CompressedInputStream(pa.PythonFile(stretch, mode="r"), "zstd")
        yield from iter(lambda: bytes(source.read(_BLOCK_BYTES)), b"")


class Stretch(io.RawIOBase):
    """The bytes of an open file from ``start`` to ``end`` (None: to its end), as a file of their own."""

    def __init__(self, raw: IO[bytes], start: int, end: int | None) -> None:
        raw.seek(start)
        self._raw, self._left = raw, math.inf if end is None else end - start

    def readable(self) -> bool:
        """See io."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; none at the end. Negative: all that is left."""
        least = self._left if size < 0 else min(size, self._left)
        data = self._raw.read(-1 if math.isinf(least) else int(least))
        self._left -= len(data)
        return data


def lines(source: Iterable[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """Lines of the blocks of a file without their end; None for one longer than ``max_bytes``.

    An over-long line is skipped without being held: memory stays near ``max_bytes`` whatever its length.
    Raises what the blocks raise, after the whole lines before it.
    """
    held = bytearray()
    skipping = False
    for block in source:
        first, *others = block.split(b"\n")
        held += first
        for following in others:
            yield None if skipping or len(held) > max_bytes else bytes(held)
            held, skipping = bytearray(following), False
        if len(held) > max_bytes:
            held, skipping = bytearray(), True
    if held or skipping:
        yield None if skipping else bytes(held)


def what_is_corrupt(uri: str, error: Exception) -> str:
    """One line on a stream that cannot be decoded.

    Raises CorpusError where it is not the text that fails but the way to it (missing file, permission, network):
    such a file must be read again, not counted as bad. An OSError of the system has a number or a class of its own;
    one of a decoder has neither.
    """
    foreign = isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile | pa.ArrowException)
    if foreign and (type(error) is not OSError or getattr(error, "errno", None) is not None):
        raise CorpusError(
            f"{uri}: cannot be read: {type(error).__name__}: {error}; check the file, its permissions and the"
            " network, then run the same command again"
        ) from error
    return f"{type(error).__name__}: {error}"
