"""Rows of one file, whatever its format: jsonl (plain, gzip, zstandard) by line, parquet by row group."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document
from app.corpora.base import CorpusSettings, Reason, Reject, SourceFile, document_id

_SAMPLE_CHARACTERS = 200
_STREAM_ERRORS = (EOFError, OSError, zlib.error, zstandard.ZstdError, pa.ArrowException)
LINE_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
SUFFIXES = (*LINE_SUFFIXES, ".parquet")


@dataclass(frozen=True)
class _Row:
    number: int
    values: dict[str, Any] | None
    reason: Reason | None = None
    sample: str = ""


def read_file(file: SourceFile, settings: CorpusSettings) -> Iterator[Document | Reject]:
    """Documents and rejects of one file, in order, in bounded memory.

    A torn stream ends the file with one ``corrupt_stream`` reject; what was read before it is kept.
    """
    wanted = {normalise(code) for code in settings.languages}
    number = documents = 0
    try:
        rows = _parquet_rows(file.uri) if file.uri.endswith(".parquet") else _json_rows(file.uri, settings)
        for row in rows:
            number = row.number
            made = _document(row, file, settings, wanted)
            if isinstance(made, Document):
                if documents == settings.max_documents_per_file != 0:
                    return
                documents += 1
            yield made
    except _STREAM_ERRORS as error:
        yield Reject(file.uri, number + 1, "corrupt_stream", f"{type(error).__name__}: {error}"[:_SAMPLE_CHARACTERS])


def _document(row: _Row, file: SourceFile, settings: CorpusSettings, wanted: set[str]) -> Document | Reject:
    def reject(reason: Reason, sample: str) -> Reject:
        return Reject(file.uri, row.number, reason, sample[:_SAMPLE_CHARACTERS])

    if row.values is None:
        assert row.reason is not None
        return reject(row.reason, row.sample)
    values = row.values
    if settings.column("text") not in values:
        return reject("missing_column", ", ".join(sorted(map(str, values))))
    text = values[settings.column("text")]
    if not isinstance(text, str):
        return reject("not_text", repr(text))
    if not text.strip() or len(text) < settings.min_characters:
        return reject("empty_text", text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return reject("bad_encoding", text.encode("utf-8", "replace").decode())
    lang = file.lang
    if lang is None:
        named = values.get(settings.column("lang"))
        if not isinstance(named, str):
            return reject("missing_column", f"no language: {', '.join(sorted(map(str, values)))}")
        try:
            lang = normalise(named)
        except CorpusError:
            return reject("unknown_language", named)
    if wanted and lang not in wanted:
        return reject("other_language", lang)
    url = values.get(settings.column("url"))
    time = values.get(settings.column("timestamp"))
    return Document(
        document_id(lang, text), lang, text, url if isinstance(url, str) else "", "" if time is None else str(time)
    )


def _json_rows(uri: str, settings: CorpusSettings) -> Iterator[_Row]:
    with fsspec.open(uri, "rb") as raw, _decompressed(uri, raw) as stream:
        for number, line in enumerate(_lines(stream, settings.max_line_bytes), start=1):
            if line is None:
                yield _Row(number, None, "line_too_long", f"more than {settings.max_line_bytes} bytes")
                continue
            if not line.strip():
                continue
            try:
                values = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError:
                yield _Row(number, None, "bad_encoding", line.decode("utf-8", "replace"))
                continue
            except (ValueError, RecursionError):
                yield _Row(number, None, "bad_json", line.decode("utf-8", "replace"))
                continue
            if isinstance(values, dict):
                yield _Row(number, values)
            else:
                yield _Row(number, None, "bad_json", line.decode("utf-8", "replace"))


def _decompressed(uri: str, raw: IO[bytes]) -> IO[bytes]:
    if uri.endswith(".gz"):
        return gzip.open(raw, "rb")  # type: ignore[return-value]  # GzipFile is a binary stream
    if uri.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)  # type: ignore[return-value]
    return raw


def _lines(stream: IO[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """Lines without their end; None for one longer than ``max_bytes``, which is skipped without being held."""
    held = b""
    skipping = False
    while block := stream.read(1 << 20):
        *whole, rest = (held + block).split(b"\n")
        for line in whole:
            yield None if skipping or len(line) > max_bytes else line
            skipping = False
        held = rest
        if len(held) > max_bytes:
            held, skipping = b"", True
    if held or skipping:
        yield None if skipping else held


def _parquet_rows(uri: str) -> Iterator[_Row]:
    with fsspec.open(uri, "rb") as raw:
        number = 0
        for batch in pq.ParquetFile(raw).iter_batches(batch_size=256):
            for values in batch.to_pylist():
                number += 1
                yield _Row(number, values)
