from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.corpora.parquet_rows import parquet_rows


def _values(file: Path, table: pa.Table) -> list[dict[str, Any]]:
    pq.write_table(table, file)
    return [dict(row.values) for row in parquet_rows(str(file), "text", ("timestamp", "lang"))]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([0, 2**62], pa.timestamp("us")), [datetime.datetime(1970, 1, 1), None]),
        (pa.array([-(2**62), None], pa.timestamp("ms")), [None, None]),
        (pa.array([0, 2**30], pa.date32()), [datetime.date(1970, 1, 1), None]),
    ],
)
def test_a_time_out_of_range_costs_neither_the_text_nor_the_times_beside_it(
    tmp_path: Path, times: pa.Array, expected: list[Any]
) -> None:
    rows = _values(tmp_path / "a.parquet", pa.table({"text": ["eins", "zwei"], "timestamp": times}))
    assert [row["text"] for row in rows] == ["eins", "zwei"]
    assert [row["timestamp"] for row in rows] == expected


def test_a_time_in_a_zone_that_nobody_knows_is_given_in_utc(tmp_path: Path) -> None:
    seconds = int(datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp())
    times = pa.array([seconds * 10**6], pa.timestamp("us", "Mars/Base"))
    (row,) = _values(tmp_path / "a.parquet", pa.table({"text": ["eins"], "timestamp": times}))
    assert row["timestamp"].isoformat() == "2020-01-02T03:04:05+00:00"


def test_text_that_is_stored_as_bytes_is_text(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["Grüße".encode()], pa.binary()), "lang": pa.array([b"de"], pa.large_binary())})
    assert _values(tmp_path / "a.parquet", table) == [{"text": "Grüße", "lang": "de"}]


def test_only_an_undecodable_text_costs_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"eins", b"\xff", b"drei"], pa.binary())
    langs = pa.array([b"de", b"de", b"\xff"], pa.binary())
    pq.write_table(pa.table({"text": texts, "lang": langs}), tmp_path / "a.parquet")
    rows = list(parquet_rows(str(tmp_path / "a.parquet"), "text", ("lang",)))
    assert [(row.number, row.reason) for row in rows] == [(1, None), (2, "bad_encoding"), (3, None)]
    assert rows[2].values == {"text": "drei", "lang": None}
