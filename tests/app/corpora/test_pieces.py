from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.core.records import Document
from app.corpora.base import Reject, SourceFile, document_id
from app.corpora.pieces import PIECE, Cut, cut_parts, join_part, plan_join, write_piece
from app.corpora.shards import shard_file

FILE = SourceFile("in/a.jsonl", "de")
DE, SW = ("de", "train"), ("sw", "train")


def _rows(numbers: range) -> list[Document | Reject]:
    """Documents of three languages and of many sizes, a bad row after each seventh; blank lines are two of ten."""
    rows: list[Document | Reject] = []
    for number in numbers:
        lang, text = ("de", "sw", "fr")[number**2 % 3], f"{number} \u2028" + "x" * (number * 37 % 91)
        rows.append(Document(document_id(lang, text), lang, text, f"https://{number}", ""))
        if number % 7 == 0:
            rows.append(Reject(FILE.uri, number + 1, "bad_json", f"row \u2028 {number}"))
    return rows


def _piece(numbers: range) -> list[Document | Reject]:
    """The same rows as the reader of a span gives them: its lines count from 1."""
    rows = [replace(row, line=row.line - numbers.start) if isinstance(row, Reject) else row for row in _rows(numbers)]
    return [*rows, Reject(FILE.uri, len(numbers) + 1, "range_end", "")]


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_part_ends_when_it_is_full_or_when_all_together_hold_too_much() -> None:
    order = [(DE, 6), (DE, 5), (SW, 9), (DE, 1)]
    assert cut_parts(order, 10) == [Cut(DE, 0, 0, 2), Cut(DE, 1, 2, 3), Cut(SW, 0, 0, 1)]
    groups = [(str(number), "train") for number in range(5)]
    order = [(group, 9) for group in groups[:4]] + [(groups[4], 8)]  # 44 of 40 bytes: the largest, and first of those
    assert cut_parts(order, 10)[0] == Cut(groups[0], 0, 0, 1)
    more = [*order, (groups[4], 1), (groups[1], 0)]  # 36 bytes now: the next largest stays open
    assert Cut(groups[1], 0, 0, 2) in cut_parts(more, 10)


@pytest.mark.parametrize("borders", [[0, 500], [0, 250, 500], [0, 3, 4, 90, 91, 400, 499, 500]])
def test_pieces_make_the_files_that_one_task_makes(tmp_path: Path, borders: list[int]) -> None:
    shard_file(_rows(range(500)), FILE, 7, Folder(str(tmp_path / "whole")), 0.2, 1000)
    joined, pieces = Folder(str(tmp_path / "joined")), []
    for start, end in itertools.pairwise(borders):
        pieces.append(Folder(str(tmp_path / f"piece-{start}")))
        assert write_piece(_piece(range(start, end)), FILE, pieces[-1], 0.2, 1000) is not None
    join = plan_join(pieces, FILE, 7, joined, 1000)
    assert sum(join_part(pieces, part, 7, joined) for part in join.parts) == 500
    joined.write_json("sidecars/00007.json", vars(join.sidecar))
    assert _digests(tmp_path / "joined") == _digests(tmp_path / "whole")


def test_more_rejects_than_are_kept_are_counted(tmp_path: Path) -> None:
    def bad(start: int, end: int) -> list[Document | Reject]:
        return [Reject(FILE.uri, line, "bad_json", str(line + start)) for line in range(1, end - start + 1)]

    shard_file(bad(0, 1500), FILE, 7, Folder(str(tmp_path / "whole")), 0.2, 1000)
    pieces = [Folder(str(tmp_path / name)) for name in ("one", "two")]
    for piece, (start, end) in zip(pieces, [(0, 900), (900, 1500)], strict=True):
        write_piece([*bad(start, end), Reject(FILE.uri, end - start + 1, "range_end", "")], FILE, piece, 0.2, 1000)
    joined = Folder(str(tmp_path / "joined"))
    joined.write_json("sidecars/00007.json", vars(plan_join(pieces, FILE, 7, joined, 1000).sidecar))
    assert _digests(tmp_path / "joined") == _digests(tmp_path / "whole")


def test_lines_of_screened_documents_count_rows_and_those_of_bad_rows_count_lines(tmp_path: Path) -> None:
    pieces = [Folder(str(tmp_path / name)) for name in ("one", "two")]
    rows: list[Document | Reject] = [Reject(FILE.uri, 3, "bad_json", "x"), Reject(FILE.uri, 2, "near_duplicate", "y")]
    for piece in pieces:
        write_piece([*rows, Reject(FILE.uri, 6, "range_end", "")], FILE, piece, 0.2, 1000)  # 5 lines, 3 of them blank
    joined = Folder(str(tmp_path / "joined"))
    plan_join(pieces, FILE, 7, joined, 1000)
    kept = (tmp_path / "joined/rejects/00007.jsonl").read_text().splitlines()
    assert [line.split('"line": ')[1].split(",")[0] for line in kept] == ["3", "2", "8", "4"]


def test_a_torn_span_makes_no_piece(tmp_path: Path) -> None:
    torn = [Reject(FILE.uri, 1, "corrupt_stream", "OSError"), Reject(FILE.uri, 2, "range_end", "")]
    assert write_piece(torn, FILE, Folder(str(tmp_path)), 0.2, 1000) is None
    assert not (tmp_path / PIECE).exists()
