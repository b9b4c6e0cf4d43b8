"""``documents.parquet``: one row per document with its log-probability under every system, a row group per block."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.layout import DOCUMENT_ROWS
from app.artifacts.store import Folder
from app.core.records import Array, FloatArray
from app.evaluation.scores import ScoredDocuments


class RowWriter:
    """Adds row groups to a file."""

    def __init__(self, file: Path, systems: Sequence[str]) -> None:
        self._systems = tuple(systems)
        fields = [("doc_id", pa.string()), ("lang", pa.string()), ("tokens", pa.int64()), ("bytes", pa.int64())]
        # Fixed beforehand: pyarrow would choose types by the first block, and a later block could get others.
        self._schema = pa.schema([*fields, *((name, pa.float64()) for name in self._systems)])
        self._writer = pq.ParquetWriter(str(file), self._schema, compression="zstd")

    def add(self, documents: ScoredDocuments, sums: Mapping[str, FloatArray]) -> None:
        """A row group. sums: system -> (documents,) nats."""
        columns = {
            "doc_id": list(documents.doc_ids),
            "lang": list(documents.langs),
            "tokens": documents.length,
            "bytes": documents.bytes,
            **{name: sums[name] for name in self._systems},
        }
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        """No row group follows."""
        self._writer.close()


@contextmanager
def row_writer(folder: Folder, systems: Sequence[str]) -> Iterator[RowWriter]:
    """Write ``documents.parquet`` of a stage; it stands there when all is written."""
    with tempfile.TemporaryDirectory(prefix="xelm-rows-") as place:
        file = Path(place) / DOCUMENT_ROWS
        # A local file first: row groups are appended to it, and a store takes whole files.
        writer = RowWriter(file, systems)
        try:
            yield writer
        finally:
            writer.close()
        # Not reached where the body raised: rows that are not complete never stand in the store.
        folder.upload(file, DOCUMENT_ROWS)


class Rows:
    """A file of rows, open. ``columns``: their names."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file, self.columns = file, tuple(file.schema_arrow.names)

    def groups(self, columns: Sequence[str]) -> Iterator[dict[str, Array]]:
        """Some of the columns, one row group at a time."""
        # One at a time: all rows of a large run need not fit into memory.
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=list(columns))
            yield {name: table[name].to_numpy() for name in columns}


@contextmanager
def open_rows(folder: Folder) -> Iterator[Rows]:
    """``documents.parquet`` of a stage. Raises MissingArtifact."""
    with tempfile.TemporaryDirectory(prefix="xelm-rows-") as place:
        file = Path(place) / DOCUMENT_ROWS
        folder.fetch(DOCUMENT_ROWS, file)
        with pq.ParquetFile(str(file)) as rows:
            yield Rows(rows)
