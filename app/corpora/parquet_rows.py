"""Rows of a parquet file: the text whatever the other columns hold."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.corpora.base import Row, Span
from app.corpora.streams import open_binary

SUFFIX = ".parquet"
_ROWS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 20
_UNITS = {"s": 10**6, "ms": 10**3, "us": 1}
"""Microseconds of the units of time that are not finer."""


def parquet_rows(uri: str, text: str, others: Collection[str], span: Span | None = None) -> Iterator[Row]:
    """The columns of ours of each row; a text that is not UTF-8 is a row with a reason, any other odd value is None.

    text: the column that matters. ``span``: row groups; after their rows comes one with the reason ``range_end``.
    Raises an ArrowException where the file is torn or is no parquet.
    """
    with open_binary(uri) as raw:
        # A buffer, and nothing read ahead: else Arrow holds a whole row group's columns, however large it is.
        table = pq.ParquetFile(raw, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        named = [name for name in table.schema_arrow.names if name == text or name in others]
        # without any column of ours every row is rejected, with the names that are there
        groups = None if span is None else list(range(span.start, span.end))
        batches = table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=named or None, row_groups=groups)
        number = 0
        for batch in batches:
            columns = {name: _values(batch.column(name)) for name in dict.fromkeys(batch.schema.names)}
            for index in range(batch.num_rows):
                number += 1
                values = {name: column[index] for name, column in columns.items()}
                if isinstance(values.get(text), _Undecodable):
                    yield Row(number, {}, "bad_encoding", "not UTF-8")
                else:
                    yield Row(number, {k: None if isinstance(v, _Undecodable) else v for k, v in values.items()})
    if span is not None:
        yield Row(number + 1, {}, "range_end")


def group_bytes(uri: str) -> list[int]:
    """Bytes of each row group of a file as they are stored. Raises what ``parquet_rows`` raises."""
    with open_binary(uri) as raw:
        metadata = pq.ParquetFile(raw, pre_buffer=False).metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        return [sum(group.column(at).total_compressed_size for at in range(group.num_columns)) for group in groups]


class _Undecodable:
    """Stands for a value that cannot be given."""


def _values(column: pa.Array) -> list[Any]:
    """A column's values; whatever Python cannot hold is replaced, since it would cost its whole batch."""
    try:
        return [_decoded(value) for value in column.to_pylist()]
    except Exception:  # Arrow raises many kinds: dates out of range, time zones nobody knows, text that is not UTF-8
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return _decoded(scalar.as_py())
    except Exception:  # as above
        return _moment(scalar) if pa.types.is_timestamp(scalar.type) else _Undecodable()


def _decoded(value: Any) -> Any:
    """Text that is stored as bytes."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return _Undecodable()


def _moment(scalar: pa.Scalar) -> Any:
    """A time in UTC, which is how Arrow keeps it whatever its zone; of nanoseconds the whole microseconds."""
    unit = scalar.type.unit
    microseconds = scalar.value // 1000 if unit == "ns" else scalar.value * _UNITS[unit]
    zone = datetime.UTC if scalar.type.tz else None
    try:
        return datetime.datetime(1970, 1, 1, tzinfo=zone) + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return _Undecodable()
