from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.records import Document
from app.corpora.base import CorpusSettings, Reject, SourceFile, Span
from app.corpora.readers import read_file
from app.corpora.splitting import find_spans, tell_whole, why_whole

LINES = [json.dumps({"text": f"Seite {number} " + "x" * (number * 7 % 50)}).encode() + b"\n" for number in range(200)]
SETTINGS = CorpusSettings(source="files", languages=("de",))


def _file(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    return SourceFile(str(path), "de", size_bytes=len(data), is_open=True)


def _read(file: SourceFile) -> list[Document | Reject]:
    return list(read_file(file, SETTINGS))


def _pieced(file: SourceFile, spans: list[Span]) -> list[Document | Reject]:
    found: list[Document | Reject] = []
    lines = 0
    for span in spans:
        *rows, end = _read(SourceFile(file.uri, "de", span=span))
        found += [
            row if isinstance(row, Document) else Reject(row.file, row.line + lines, row.reason, row.sample)
            for row in rows
        ]
        assert isinstance(end, Reject) and end.reason == "range_end"
        lines += end.line - 1
    return found


def test_a_plain_file_is_cut_by_bytes_and_read_as_it_was(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + b"".join(LINES[:50]) + b"no json\n\n\r\n" + b"".join(LINES[50:])[:-1]
    file = _file(tmp_path / "a.jsonl", data)
    spans = find_spans(file, 1000)
    assert len(spans) == -(-len(data) // 1000) and spans[-1].end == len(data)
    assert _pieced(file, spans) == _read(file)


def test_a_zstd_file_is_cut_between_frames_wherever_lines_end(tmp_path: Path) -> None:
    text = b"".join(LINES)
    data = b"".join(
        bytes(pa.compress(text[at : at + 1001], codec="zstd", asbytes=True)) for at in range(0, len(text), 1001)
    )
    file = _file(tmp_path / "a.jsonl.zst", data)
    spans = find_spans(file, len(data) // 4)
    assert 4 <= len(spans) <= 6 and spans[-1].end == len(data)
    assert _pieced(file, spans) == _read(file)


def test_a_parquet_file_is_cut_between_row_groups(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [line.decode() for line in LINES]}), tmp_path / "a.parquet", row_group_size=30)
    file = _file(tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes())
    spans = find_spans(file, (file.size_bytes or 0) // 3)
    assert 2 < len(spans) <= 7 and spans[-1].end == 7
    assert _pieced(file, spans) == _read(file)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("array.json", b"[\n" + b",\n".join(LINES) + b"]"),
        ("wide.jsonl", "".join(line.decode() for line in LINES).encode("utf-16")),
        ("one-frame.jsonl.zst", bytes(pa.compress(b"".join(LINES), codec="zstd", asbytes=True))),
        ("torn.jsonl.zst", bytes(pa.compress(b"".join(LINES), codec="zstd", asbytes=True))[:-20]),
        ("no.parquet", b"".join(LINES)),
    ],
)
def test_what_has_no_borders_is_one_task(tmp_path: Path, name: str, data: bytes) -> None:
    assert len(find_spans(_file(tmp_path / name, data), 1000)) <= 1


def test_why_a_file_is_one_task_is_said_by_its_name_and_place(tmp_path: Path) -> None:
    packed = _file(tmp_path / "a.jsonl.gz", gzip.compress(b"".join(LINES)))
    assert why_whole(packed, 0) == "gz can only be read from its beginning"
    assert why_whole(SourceFile("datasets/a/b.parquet"), 0) == "it is fetched whole"
    plain = SourceFile("a.jsonl", is_open=True)
    assert why_whole(plain, 0) == "" and "max_documents_per_file" in why_whole(plain, 5)
    many = [SourceFile(f"{name}.gz") for name in "abcde"]
    assert tell_whole(many, ["gz"] * 5) == ["one task each, however large: a.gz, b.gz, c.gz and 2 more: gz"]
