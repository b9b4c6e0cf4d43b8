from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.core.records import Document
from app.corpora import shards
from app.corpora.base import Reject, SourceFile, document_id, split_of
from app.corpora.pieces import cut_parts
from app.corpora.shards import SHARD_SCHEMA, Cuts, Sidecar, part_names, read_documents, read_part, shard_file


def _document(lang: str, text: str) -> Document:
    return Document(document_id(lang, text), lang, text, "u", "t")


def _shard(rows: Sequence[Document | Reject], place: Path, split: str | None = None, part_bytes: int = 1000) -> Sidecar:
    return shard_file(rows, SourceFile("rows", None, split), 7, Folder(str(place)), 0.2, part_bytes)


def _digests(place: Path) -> dict[str, str]:
    return {
        file.relative_to(place).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(place.rglob("*"))
        if file.is_file()
    }


ROWS = [_document(lang, f"{lang} {number} é" * 5) for number in range(300) for lang in ("de", "sw")]


def test_every_document_is_in_the_folder_of_its_language_and_split_in_order(tmp_path: Path) -> None:
    counts = _shard(ROWS, tmp_path)
    folder = Folder(str(tmp_path))
    expected: Counter[str] = Counter()
    for lang in ("de", "sw"):
        for split in ("train", "validation"):
            rows = [row for row in ROWS if row.lang == lang and split_of(row.doc_id, 0.2) == split]
            stored = list(read_documents(folder, lang, split))
            assert [row["text"] for row in stored] == [row.text for row in rows]
            expected[f"{lang}/{split}"] = len(rows)
            assert len(part_names(folder, lang, split)) > 1
    assert counts.documents == expected
    assert counts.bytes == {
        key: sum(len(row["text"].encode()) for row in read_documents(folder, *key.split("/"))) for key in expected
    }


def test_a_split_that_the_corpus_brings_is_kept(tmp_path: Path) -> None:
    assert _shard(ROWS, tmp_path, split="validation").documents == {"de/validation": 300, "sw/validation": 300}


def test_parts_have_the_schema_and_the_bytes_of_the_text(tmp_path: Path) -> None:
    _shard(ROWS, tmp_path)
    folder = Folder(str(tmp_path))
    part = part_names(folder, "de", "train")[0]
    table = read_part(folder, "de", "train", part)
    assert table.schema.equals(SHARD_SCHEMA)
    assert table["bytes"].to_pylist() == [len(text.encode()) for text in table["text"].to_pylist()]
    assert part.startswith("part-00007-000")
    assert read_part(folder, "de", "train", part, ["doc_id"]).column_names == ["doc_id"]


def test_a_second_run_ends_with_the_same_files(tmp_path: Path) -> None:
    _shard(ROWS, tmp_path / "one")
    before = _digests(tmp_path / "one")
    _shard(ROWS, tmp_path / "one")
    _shard(ROWS, tmp_path / "two")
    assert _digests(tmp_path / "one") == before == _digests(tmp_path / "two")


def test_rejects_are_counted_by_reason_and_a_thousand_are_kept(tmp_path: Path) -> None:
    bad = [Reject("rows", line, "bad_json", f"torn {line} é") for line in range(1500)]
    counts = _shard([*ROWS, *bad, Reject("rows", 2000, "empty_text", "")], tmp_path)
    assert counts.rejects == {"bad_json": 1500, "empty_text": 1}
    assert counts.rejects_not_kept == 501
    (file,) = (tmp_path / "rejects").iterdir()
    kept = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert kept[3] == {"file": "rows", "line": 3, "reason": "bad_json", "sample": "torn 3 é"} and len(kept) == 1000


def test_many_short_documents_end_a_part_early_and_pieces_are_cut_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_HELD_ROWS", 4)
    de, fr = ("de", "train"), ("fr", "train")
    cuts = Cuts(100)
    order = [(de, 1), (fr, 30), (de, 1), (de, 1), (fr, 30), (fr, 50), (de, 1), (de, 1), (de, 1)]
    # The fourth that is held ends the part with the most documents; 30 + 30 + 50 bytes end one by their size.
    assert [cuts.add(*one) for one in order] == [None, None, None, de, None, fr, None, None, None]
    ends = [(cut.group, cut.start, cut.end) for cut in cut_parts(order, 100)]
    assert ends == [(de, 0, 3), (fr, 0, 3), (de, 3, 6)]


def test_parts_are_of_the_size_asked_for_and_memory_is_bounded_in_many_languages(tmp_path: Path) -> None:
    rows = [_document(f"l{number % 50:02d}", f"{number:04d}" * 25) for number in range(400)]
    _shard(rows, tmp_path, split="train", part_bytes=1000)
    folder = Folder(str(tmp_path))
    parts = [
        sum(read_part(folder, lang, "train", part)["bytes"].to_pylist())
        for lang in sorted({row.lang for row in rows})
        for part in part_names(folder, lang, "train")
    ]
    assert sum(parts) == 400 * 100 and max(parts) <= 1000
    assert len(parts) > 50  # 8 documents of each of 50 languages do not fit into four parts' memory
