from __future__ import annotations

import datetime
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.errors import CorpusError
from app.core.records import Document
from app.corpora import readers
from app.corpora.base import CorpusSettings, Reject, SourceFile, document_id
from app.corpora.readers import is_readable, read_file

SETTINGS = CorpusSettings(source="files", max_line_bytes=1000, min_characters=3)


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _read(file: Path, lang: str | None = "de", settings: CorpusSettings = SETTINGS) -> list[Document | Reject]:
    return list(read_file(SourceFile(str(file), lang), settings))


def _reasons(rows: list[Document | Reject]) -> list[str]:
    return [row.reason if isinstance(row, Reject) else row.text for row in rows]


GOOD = _line(text="Guten Tag", url="https://example.org/", timestamp="2020-01-02T03:04:05Z")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "torn\n', "bad_json"),
        (b"[1, 2]\n", "bad_json"),
        (b"[" * 100_000 + b"\n", "line_too_long"),
        (b"[" * 900 + b"\n", "bad_json"),
        ('{"text": "Grüße"}\n'.encode("latin-1"), "bad_encoding"),
        (_line(text="half of a pair \ud83d"), "bad_encoding"),
        (_line(text=" \n\t"), "empty_text"),
        (_line(text="ab"), "empty_text"),
        (_line(text="x" * 1000), "line_too_long"),
        (_line(text=17), "not_text"),
        (_line(text=None), "not_text"),
        (_line(content="no text column"), "missing_column"),
        (_line(**{"half \ud83d": "no text column"}), "missing_column"),
    ],
)
def test_a_bad_row_is_counted_with_its_reason_and_place_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD + b"\n" + line + GOOD)
    rows = _read(file)
    assert _reasons(rows) == ["Guten Tag", reason, "Guten Tag"]
    assert isinstance(rows[1], Reject)
    assert (rows[1].file, rows[1].line) == (str(file), 3)
    assert len(rows[1].sample) <= 200
    json.dumps(vars(rows[1])).encode()  # every sample can be written down


def test_a_good_row_is_a_document_with_its_text_untouched(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    text = " Zwei  Zeilen\r\nmit Rand\u00a0"
    file.write_bytes(b"\xef\xbb\xbf" + _line(text=text, url=5) + GOOD)
    expected = Document(document_id("de", text), "de", text, "", "")
    good = Document(document_id("de", "Guten Tag"), "de", "Guten Tag", "https://example.org/", "2020-01-02T03:04:05Z")
    assert _read(file) == [expected, good]


def test_an_address_that_is_no_unicode_does_not_cost_the_document(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(_line(text="Guten Tag", url="http://\ud83d/", timestamp="\ud83d"))
    assert _read(file) == [Document(document_id("de", "Guten Tag"), "de", "Guten Tag", "http://?/", "?")]


def test_a_truncated_gzip_keeps_the_rows_before_the_tear_and_ends_with_one_reject(tmp_path: Path) -> None:
    texts = [f"Satz {number} " + str(number**9) for number in range(5000)]
    packed = gzip.compress(b"".join(_line(text=text) for text in texts))
    file = tmp_path / "a.json.gz"
    file.write_bytes(packed[: len(packed) * 3 // 4])
    rows = _read(file)
    assert Counter(type(row) for row in rows) == {Document: len(rows) - 1, Reject: 1}
    assert _reasons(rows) == [*texts[: len(rows) - 1], "corrupt_stream"] and len(rows) > 2500


def test_an_empty_file_is_no_row_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b""))
    assert _read(tmp_path / "a.jsonl") == _read(tmp_path / "a.json.gz") == []


def test_a_missing_file_is_an_error_not_a_reject(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json.gz", "a.jsonl.zst", "a.parquet"):
        with pytest.raises(CorpusError, match=f"{name}: cannot be read"):
            _read(tmp_path / name)


def test_columns_are_mapped(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(_line(content="Guten Tag", href="u", date="2020", language="ger_Latn"))
    columns = {"text": "content", "url": "href", "timestamp": "date", "lang": "language"}
    rows = _read(file, None, CorpusSettings(source="files", columns=columns))
    assert rows == [Document(document_id("de", "Guten Tag"), "de", "Guten Tag", "u", "2020")]


@pytest.mark.parametrize(
    ("file_lang", "row", "languages", "outcome"),
    [
        ("de", {"lang": "fr"}, (), "fr"),
        ("my", {"lang": "de"}, ("de",), "de"),
        ("de", {"language": "fr"}, (), "fr"),
        ("de", {"lang": None, "language": "fr"}, (), "fr"),
        ("de", {}, (), "de"),
        ("de", {"lang": "German"}, (), "de"),
        ("de", {"lang": ["fr_Latn"]}, (), "de"),
        ("de", {"lang": "und"}, (), "de"),
        ("hi-Latn", {"language": "hin"}, (), "hi-Latn"),
        ("hi", {"lang": "hi-Latn"}, (), "hi-Latn"),
        ("en", {}, ("de",), "other_language"),
        (None, {"lang": "und"}, (), "und"),
        (None, {"lang": "fr"}, ("fr",), "fr"),
        (None, {"lang": "iw"}, (), "he"),
        (None, {}, ("iw",), "he"),
        (None, {}, ("de", "fr"), "missing_column"),
        (None, {"lang": None}, ("de",), "de"),
        (None, {"lang": None}, (), "missing_column"),
        (None, {"lang": "xx"}, ("de",), "unknown_language"),
        (None, {"lang": "sv"}, ("de",), "other_language"),
    ],
)
def test_language_of_the_row_then_of_its_place_then_the_only_configured(
    tmp_path: Path, file_lang: str | None, row: dict[str, Any], languages: tuple[str, ...], outcome: str
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(_line(text="Text", **row))
    (found,) = _read(file, file_lang, CorpusSettings(source="files", languages=languages))
    assert (found.reason if isinstance(found, Reject) else found.lang) == outcome


def test_where_the_layout_is_known_the_place_is_believed_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(_line(text="Text", language="fr"))
    (found,) = read_file(SourceFile(str(file), "de", is_language_sure=True), SETTINGS)
    assert isinstance(found, Document) and found.lang == "de"


def test_a_configured_language_column_is_the_only_one_that_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(_line(text="Text", language="fr", locale="sv"))
    (found,) = _read(file, "de", CorpusSettings(source="files", columns={"lang": "locale"}))
    assert isinstance(found, Document) and found.lang == "sv"


def test_an_error_that_nobody_foresaw_names_the_file_and_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD * 2)

    def fail(_: Any) -> str:
        raise OverflowError("nobody foresaw")

    monkeypatch.setattr("app.corpora.readers._timestamp", fail)
    with pytest.raises(CorpusError, match=r"a\.jsonl: cannot be read after row 1: OverflowError: nobody foresaw"):
        _read(file)


def test_limit_counts_documents_not_rejects(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(_line(text=1) + GOOD + _line(text=2) + GOOD * 3)
    rows = _read(file, settings=CorpusSettings(source="files", max_documents_per_file=2))
    assert _reasons(rows) == ["not_text", "Guten Tag", "not_text", "Guten Tag"]


def test_parquet_rows_become_documents_and_bad_ones_rejects(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    texts = pa.array([b"Guten Tag", b"\xff\xfe", None, b"x" * 1001, b"Ende"]).cast(pa.string(), safe=False)
    times = pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5)] * 5, pa.timestamp("us"))
    pq.write_table(pa.table({"text": texts, "timestamp": times, "minhash": [[1.5]] * 5}), file, row_group_size=2)
    rows = _read(file)
    assert _reasons(rows) == ["Guten Tag", "bad_encoding", "not_text", "line_too_long", "Ende"]
    assert isinstance(rows[0], Document) and rows[0].timestamp == "2020-01-02T03:04:05"
    assert [row.line for row in rows if isinstance(row, Reject)] == [2, 3, 4]


def test_parquet_without_our_columns_rejects_every_row_and_names_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"content": ["a", "b"]}), file)
    rows = _read(file)
    assert _reasons(rows) == ["missing_column"] * 2
    assert isinstance(rows[0], Reject) and "content" in rows[0].sample


def test_unreadable_parquet_is_one_corrupt_stream(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"text": ["Guten Tag " * 50] * 300}), whole, compression="none", use_dictionary=False)
    data = bytearray(whole.read_bytes())
    (tmp_path / "foreign.parquet").write_bytes(b"no parquet at all")
    (tmp_path / "torn.parquet").write_bytes(data[: len(data) // 2])
    data[4:64] = bytes(60)
    (tmp_path / "holed.parquet").write_bytes(data)
    for name in ("foreign", "torn", "holed"):
        assert _reasons(_read(tmp_path / f"{name}.parquet")) == ["corrupt_stream"]


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        *[("a.jsonl", True), ("a.json.gz", True), ("a.jsonl.zst", True), ("a.parquet", True), ("part-0.gz", True)],
        *[("a.JSONL", True), ("a.Json.GZ", True), ("a.jsonl.xz", True), ("a.jsonl.bz2", True), ("a.jsonl.lz4", True)],
        *[("a.PARQUET", True), ("a.txt", False), ("a.tar.gz", False), ("a.TAR.XZ", False), ("README.md", False)],
    ],
)
def test_readable_files_by_name(name: str, readable: bool) -> None:
    assert is_readable(name) == readable


@pytest.mark.parametrize(
    ("uri", "cure"), [("{tmp}/a.jsonl", "take this file out"), ("s3://bucket/a.jsonl", "check the network")]
)
def test_what_a_storages_client_raises_is_no_reason_to_drop_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, cure: str
) -> None:
    class PayloadError(Exception):
        """As clients of remote storages have their own."""

    def broken(*_: object) -> Iterator[Any]:
        raise PayloadError("the connection was closed")
        yield

    monkeypatch.setattr(readers, "read_rows", broken)
    with pytest.raises(CorpusError, match=rf"PayloadError: the connection was closed; {cure}"):
        list(read_file(SourceFile(uri.format(tmp=tmp_path), "de"), SETTINGS))
