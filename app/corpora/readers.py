"""Rows of one file, whatever its format: jsonl (plain, gzip, zstandard) by line, parquet by batches of rows."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document
from app.corpora.base import CorpusSettings, Reason, Reject, SourceFile, document_id, is_drawn
from app.corpora.streams import ARCHIVES, CORRUPT, LINE_SUFFIXES, lines, open_binary, what_is_corrupt

PARQUET_SUFFIX = ".parquet"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SAMPLE_CHARACTERS = 200
_PARQUET_ROWS = 64
_PARQUET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class _Row:
    number: int
    values: Mapping[str, Any] | None
    reason: Reason | None = None
    sample: str = ""


def is_readable(path: str) -> bool:
    """Whether a file's name says that it holds rows."""
    return path.endswith((*LINE_SUFFIXES, PARQUET_SUFFIX)) and not path.endswith(ARCHIVES)


def read_file(file: SourceFile, settings: CorpusSettings) -> Iterator[Document | Reject]:
    """Documents and rejects of one file, in order, in bounded memory.

    A torn stream ends the file with one ``corrupt_stream`` reject; what was read before it is kept.
    Raises CorpusError if the file is not there or its storage fails: that is no fault of the text.
    """
    wanted = {normalise(code) for code in settings.languages}
    number = documents = 0
    try:
        for row in _parquet_rows(file.uri, settings) if _is_parquet(file) else _json_rows(file.uri, settings):
            number = row.number
            made = _document(row, file, settings, wanted)
            if isinstance(made, Document):
                if documents == settings.max_documents_per_file != 0:
                    return
                documents += 1
            yield made
    except CORRUPT as error:
        sample = what_is_corrupt(file.uri, error)[:_SAMPLE_CHARACTERS]
        yield Reject(file.uri, number + 1, "corrupt_stream", sample)


def _is_parquet(file: SourceFile) -> bool:
    return file.uri.endswith(PARQUET_SUFFIX)


def _document(row: _Row, file: SourceFile, settings: CorpusSettings, wanted: set[str]) -> Document | Reject:
    def reject(reason: Reason, sample: str) -> Reject:
        return Reject(file.uri, row.number, reason, _writable(sample[:_SAMPLE_CHARACTERS]))

    if row.values is None:
        assert row.reason is not None
        return reject(row.reason, row.sample)
    if settings.column("text") not in row.values:
        return reject("missing_column", f"no {settings.column('text')!r} in {', '.join(sorted(map(str, row.values)))}")
    text = row.values[settings.column("text")]
    if not isinstance(text, str):
        return reject("not_text", repr(text))
    if settings.line_break:
        text = text.replace(settings.line_break, "\n")
    if not text.strip() or len(text) < settings.min_characters:
        return reject("empty_text", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, escaped in the JSON
        return reject("bad_encoding", text)
    if size > settings.max_line_bytes:
        return reject("line_too_long", f"{size} bytes, more than {settings.max_line_bytes}: {text[:100]}")
    lang, reason, sample = _language(row.values, file, settings, wanted)
    if reason is not None:
        return reject(reason, sample)
    doc_id = document_id(lang, text)
    if settings.source_weights:
        if (source := row.values.get(settings.column("source"))) is None:
            return reject("missing_column", f"no {settings.column('source')!r}, which corpus.quality_weights needs")
        if not is_drawn(doc_id, b"source", settings.source_weights.get(str(source), 1.0)):
            return reject("thinned_source", f"{source}: {text}")
    url = row.values.get(settings.column("url"))
    time = _timestamp(row.values.get(settings.column("timestamp")))
    return Document(doc_id, lang, text, _writable(url) if isinstance(url, str) else "", time)


def _language(
    values: Mapping[str, Any], file: SourceFile, settings: CorpusSettings, wanted: set[str]
) -> tuple[str, Reason | None, str]:
    """The file's language, else the row's, else the only configured one; or why the row cannot be used."""
    column = settings.column("lang")
    lang = file.lang
    if lang is None and column in values:
        if not isinstance(values[column], str):
            return "", "unknown_language", repr(values[column])
        try:
            lang = normalise(values[column])
        except CorpusError:
            return "", "unknown_language", values[column]
    if lang is None and len(wanted) == 1:
        (lang,) = wanted
    if lang is None:
        return "", "missing_column", f"no language: no {column!r} in {', '.join(sorted(map(str, values)))}"
    return (lang, "other_language", lang) if wanted and lang not in wanted else (lang, None, "")


def _timestamp(value: Any) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    return "" if value is None else _writable(str(value))


def _writable(text: str) -> str:
    """Text that can be stored as UTF-8: halves of surrogate pairs, which JSON can escape, become question marks."""
    return text.encode("utf-8", "replace").decode()


def _json_rows(uri: str, settings: CorpusSettings) -> Iterator[_Row]:
    for number, line in enumerate(lines(uri, settings.max_line_bytes), start=1):
        if line is None:
            yield _Row(number, None, "line_too_long", f"more than {settings.max_line_bytes} bytes")
            continue
        line = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if not line.strip():
            continue
        sample = line[: 4 * _SAMPLE_CHARACTERS].decode("utf-8", "replace")
        try:
            values = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            yield _Row(number, None, "bad_encoding", sample)
            continue
        except (ValueError, RecursionError):
            yield _Row(number, None, "bad_json", sample)
            continue
        yield _Row(number, values) if isinstance(values, dict) else _Row(number, None, "bad_json", sample)


def _parquet_rows(uri: str, settings: CorpusSettings) -> Iterator[_Row]:
    with open_binary(uri) as raw:
        table = pq.ParquetFile(raw, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False)
        ours = {settings.column(name) for name in ("text", "url", "timestamp", "lang")}
        ours |= {settings.column("source")} if settings.source_weights else set()
        named = [name for name in table.schema_arrow.names if name in ours]
        number = 0
        # without any column of ours every row is rejected, with the names that are there
        for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=named or None):
            for row in _batch_rows(batch):
                number += 1
                yield _Row(number, row) if row is not None else _Row(number, None, "bad_encoding", "not UTF-8")


def _batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | None]:
    """Rows of a batch; None for one whose text is not UTF-8, which Arrow finds only when it is read."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield {name: batch.column(name)[index].as_py() for name in batch.schema.names}
            except UnicodeDecodeError:
                yield None
