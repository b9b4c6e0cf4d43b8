"""Bytes of one file, decompressed, cut into lines and in bounded memory whatever the file holds."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import fsspec
import pyarrow as pa

from app.core.errors import CorpusError

LINE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".gz", ".zst")
"""Files read line by line; a compressed one may have any name before the last suffix, but for archives."""
ARCHIVES = (".tar.gz", ".tar.zst")

_BLOCK_BYTES = 1 << 16
"""Decompressed at a time; at most this much of a torn stream is lost besides the torn line."""
CORRUPT = (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException, OSError)
"""What a torn or foreign stream may raise; pass it through ``reject_corrupt``."""


@contextlib.contextmanager
def open_binary(uri: str) -> Iterator[IO[bytes]]:
    """The raw bytes of a path or URI. Raises CorpusError if its file system is not installed."""
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise CorpusError(f"{uri}: {error}; install what this kind of address needs, or use a local path") from error
    with filesystem.open(path, "rb") as stream:
        yield stream


def lines(uri: str, max_bytes: int) -> Iterator[bytes | None]:
    """Lines of a file (plain, gzip or zstandard) without their end; None for one longer than ``max_bytes``.

    An over-long line is skipped without being held: memory stays near ``max_bytes`` whatever its length.
    Raises one of ``CORRUPT`` where the stream is torn, after the whole lines before it.
    """
    with open_binary(uri) as raw, contextlib.ExitStack() as stack:
        held = bytearray()
        skipping = False
        for block in iter(_reader(uri, raw, stack), b""):
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


def _reader(uri: str, raw: IO[bytes], stack: contextlib.ExitStack) -> Callable[[], bytes]:
    if uri.endswith(".gz"):
        # read1 returns what there is: rows before a torn end are not lost with it
        unzipped = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb"))
        return lambda: unzipped.read1(_BLOCK_BYTES)
    if uri.endswith(".zst"):
        # not the zstandard package: it takes the end of a truncated file for the end of the text
        source: Any = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        return lambda: bytes(source.read(_BLOCK_BYTES))
    return lambda: raw.read(_BLOCK_BYTES)
