from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.corpora.json_rows import json_rows
from app.corpora.streams import CORRUPT

TEXTS = [f"Zeile {number}\nmit अ" for number in range(30)]
BOM = b"\xef\xbb\xbf"


def _line(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def _rows(file: Path, data: bytes) -> list[Any]:
    file.write_bytes(data)
    return [row.reason or row.values["text"] for row in json_rows(str(file), 1000)]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_gives_all_its_objects(tmp_path: Path, indent: int | None) -> None:
    data = json.dumps([{"text": text} for text in TEXTS], indent=indent).encode()
    assert _rows(tmp_path / "a.json", data) == TEXTS
    assert _rows(tmp_path / "a.json.gz", gzip.compress(data)) == TEXTS


def test_objects_over_several_lines_are_read(tmp_path: Path) -> None:
    data = "\n".join(json.dumps({"text": text}, indent=1) for text in TEXTS).encode()
    assert _rows(tmp_path / "a.jsonl", data) == TEXTS


@pytest.mark.parametrize("between", [b"\n", b"\n" + BOM, BOM, b"", b" "])
def test_joined_files_lose_no_row_at_the_seam(tmp_path: Path, between: bytes) -> None:
    data = BOM + b"\n".join(map(_line, TEXTS[:3])) + between + b"\n".join(map(_line, TEXTS[3:]))
    assert _rows(tmp_path / "a.jsonl", data) == TEXTS


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        *[("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("JSON", bytes)],
        *[(kind, lambda data, name=kind: pa.compress(data, _CODECS[name], asbytes=True)) for kind in ("zst", "lz4")],
    ],
)
def test_every_packing_is_read(tmp_path: Path, suffix: str, pack: Any) -> None:
    data = b"\n".join(map(_line, TEXTS))
    assert _rows(tmp_path / f"a.jsonl.{suffix}", pack(data)) == TEXTS
    assert _rows(tmp_path / f"a.JSONL.{suffix.upper()}", pack(data)) == TEXTS


_CODECS = {"zst": "zstd", "lz4": "lz4"}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_small_torn_file_gives_what_is_before_the_tear(tmp_path: Path, pack: Any) -> None:
    suffix = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[pack]
    file = tmp_path / f"a.jsonl.{suffix}"
    whole = pack(b"\n".join(map(_line, TEXTS)))
    file.write_bytes(whole + whole[: len(whole) // 2])
    seen = []
    with pytest.raises(CORRUPT):
        for row in json_rows(str(file), 10_000):
            seen.append(row)
    assert len(seen) >= len(TEXTS) - 1


def test_utf_16_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "Grüße"}\n'.encode("utf-16"))
    (row,) = json_rows(str(tmp_path / "a.jsonl"), 1000)
    assert row.reason == "bad_encoding" and "iconv" in row.sample


def test_a_number_of_any_length_in_another_column_does_not_cost_the_text(tmp_path: Path) -> None:
    assert _rows(tmp_path / "a.jsonl", b'{"text": "Haus", "id": ' + b"9" * 5000 + b"}") == ["line_too_long"]
    file = tmp_path / "b.jsonl"
    file.write_bytes(b'{"text": "Haus", "id": ' + b"9" * 5000 + b"}")
    assert [row.values["text"] for row in json_rows(str(file), 10_000)] == ["Haus"]
