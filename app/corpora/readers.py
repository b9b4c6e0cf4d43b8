"""Documents of one file, whatever its format: JSON objects (plain or compressed), parquet by batches of rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import CorpusError
from app.core.languages import UNDETERMINED, normalise, recognised
from app.core.records import Document
from app.corpora import parquet_rows
from app.corpora.base import (
    SAMPLE_CHARACTERS,
    CorpusSettings,
    Reason,
    Reject,
    Row,
    SourceFile,
    Span,
    document_id,
    is_drawn,
)
from app.corpora.json_rows import json_rows
from app.corpora.streams import ARCHIVES, CORRUPT, LINE_SUFFIXES, what_is_corrupt

SUFFIXES = (*LINE_SUFFIXES, parquet_rows.SUFFIX)
"""Of the files that can be read, in any case."""


def is_readable(path: str) -> bool:
    """Whether a file's name says that it holds rows."""
    return path.lower().endswith(SUFFIXES) and not path.lower().endswith(ARCHIVES)


def read_file(file: SourceFile, settings: CorpusSettings) -> Iterator[Document | Reject]:
    """Documents and rejects of one file, or of its span, in order, in bounded memory.

    A torn stream ends the file with one ``corrupt_stream`` reject; what was read before it is kept.
    Raises CorpusError if the file is not there or its storage fails, which is no fault of the text, and for
    whatever else a reader raises, naming the file.
    """
    wanted = {normalise(code) for code in settings.languages}
    number = documents = 0
    try:
        for row in read_rows(file.uri, settings, file.span):
            number = row.number
            made = _document(row, file, settings, wanted)
            if isinstance(made, Document):
                if documents == settings.max_documents_per_file != 0:
                    return
                documents += 1
            yield made
    except CORRUPT as error:
        sample = what_is_corrupt(file.uri, error)[:SAMPLE_CHARACTERS]
        yield Reject(file.uri, number + 1, "corrupt_stream", sample)
    except CorpusError:
        raise
    except Exception as error:
        # Clients of remote storages raise classes of their own, for what may have passed by the next attempt.
        cure = (
            "check the network, then run the same command again"
            if "://" in file.uri
            else "take this file out of corpus.path to go on without it, and please report the error with the file"
        )
        raise CorpusError(
            f"{file.uri}: cannot be read after row {number}: {type(error).__name__}: {error}; {cure}"
        ) from error


def read_rows(uri: str, settings: CorpusSettings, span: Span | None = None) -> Iterator[Row]:
    """The rows of a file, or of a part of it, as they are; numbers count from the first one that is read.

    After those of a part comes one with the reason ``range_end``. Raises one of ``CORRUPT`` where it is torn.
    """
    if uri.lower().endswith(parquet_rows.SUFFIX):
        others = {settings.column("url"), settings.column("timestamp"), *_language_columns(settings)}
        others |= {settings.column("source")} if settings.source_weights else set()
        return parquet_rows.parquet_rows(uri, settings.column("text"), others, span)
    return json_rows(uri, settings.max_line_bytes, span)


def language_in(values: Mapping[str, Any], settings: CorpusSettings) -> str | None:
    """What a row's own columns say its language is, not normalised; None if they say nothing."""
    said = (values.get(column) for column in _language_columns(settings))
    return next((value for value in said if isinstance(value, str) and value.strip()), None)


def _language_columns(settings: CorpusSettings) -> tuple[str, ...]:
    """The configured column; where none is configured also ``language``, as it is often called."""
    column = settings.column("lang")
    return (column, "language") if column == "lang" else (column,)


def _document(row: Row, file: SourceFile, settings: CorpusSettings, wanted: set[str]) -> Document | Reject:
    def reject(reason: Reason, sample: str) -> Reject:
        return Reject(file.uri, row.number, reason, _writable(sample[:SAMPLE_CHARACTERS]))

    if row.reason is not None:
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
    # In parquet and spread JSON there are no lines that could have been too long.
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
    """The row's own language, else its place's, else the only configured one; or why the row cannot be used.

    Where the layout is known (``file.is_language_sure``) the place is believed alone. A row that says ``und``, or
    what is no code, says nothing that its place does not know better; one that says ``hi`` in a place of hi-Latn
    says the same with less.
    """
    said = None if file.is_language_sure else language_in(values, settings)
    lang = recognised(said) if said is not None else None
    if file.lang is not None and (lang in (None, UNDETERMINED) or file.lang.partition("-")[0] == lang):
        lang = file.lang
    if lang is None and said is not None:
        return "", "unknown_language", said
    if lang is None and len(wanted) == 1:
        (lang,) = wanted
    if lang is None:
        columns = " or ".join(map(repr, _language_columns(settings)))
        return "", "missing_column", f"no language: nothing in {columns}; {', '.join(sorted(map(str, values)))}"
    return (lang, "other_language", lang) if wanted and lang not in wanted else (lang, None, "")


def _timestamp(value: Any) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    return "" if value is None else _writable(str(value))


def _writable(text: str) -> str:
    """Text that can be stored as UTF-8: halves of surrogate pairs, which JSON can escape, become question marks."""
    return text.encode("utf-8", "replace").decode()
