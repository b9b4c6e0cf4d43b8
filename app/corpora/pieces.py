"""A source file that several tasks have read, put together: the parts, counts and rejects that one task would write.

Each task writes what it has read as a *piece*: parts of its own, and the order of its documents. Where the parts of the
file end follows from the sizes of all documents before, so it is found from the orders of the pieces; then each part
can be written by a task of its own. Bytes, names and counts are those of a file that is read by one task.
"""

from __future__ import annotations

import bisect
import itertools
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from app.artifacts.layout import part_name, rejects_name
from app.artifacts.store import Folder
from app.core.records import Document
from app.core.typed import from_json
from app.corpora.base import Reason, Reject, SourceFile, split_of
from app.corpora.shards import (
    KEPT_REJECTS,
    SHARD_SCHEMA,
    Cuts,
    Group,
    Sidecar,
    read_part,
    read_sidecar,
    shard_file,
    tell_reject,
    write_part,
    write_rejects,
)

PIECE = "piece-2.json"
"""Written last, so it marks a piece as complete. How it was cut follows from its order by the rule with this number
(``Cuts``), and is not kept: what an older version of the code has cut is read again.
"""
_ORDER = "order.bin"
_NUMBER = 0
"""Of the only source file in a piece's folder."""
_BY_ROW: tuple[Reason, ...] = ("near_duplicate", "misidentified")
"""Their lines count the rows that were read, as ``screen`` does; those of all others the lines of the file."""


@dataclass(frozen=True)
class Piece:
    """A span of a source file. ``lines``: all, blank ones too; ``rows``: those that were documents or rejects;
    ``bytes``: of text.

    ``groups``: ``<lang>/<split>`` in the order in which they first came. ``first``: of each reason the first reject.
    """

    lines: int
    rows: int
    documents: int
    bytes: int
    groups: tuple[str, ...]
    first: Mapping[str, Reject]


@dataclass(frozen=True)
class Source:
    """Successive documents in a part of a piece, up to ``end`` and without it."""

    piece: int
    chunk: int
    start: int
    end: int


@dataclass(frozen=True)
class JoinedPart:
    """One part of a source file, and where its documents are."""

    lang: str
    split: str
    chunk: int
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Join:
    """All parts of a source file, and what became of the file."""

    parts: tuple[JoinedPart, ...]
    sidecar: Sidecar


@dataclass(frozen=True)
class Cut:
    """A part of a source file: of the documents of its group those up to ``end`` and without it."""

    group: Group
    chunk: int
    start: int
    end: int


def write_piece(
    rows: Iterable[Document | Reject], file: SourceFile, target: Folder, validation_fraction: float, part_bytes: int
) -> Piece | None:
    """Write what a span of a source file holds; None, and no mark that it is complete, if the span is torn.

    rows: end with a Reject ``range_end``. A torn file is to be read by one task: what is kept of it depends on where
    its reading began.
    """
    noted = _Noted(rows, file.split, validation_fraction)
    shard_file(noted, file, _NUMBER, target, validation_fraction, part_bytes)
    if noted.is_torn:
        return None
    groups = tuple("/".join(group) for group in noted.groups)
    piece = Piece(noted.lines, noted.rows, len(noted.sizes), sum(noted.sizes), groups, noted.first)
    target.write(_ORDER, noted.places.tobytes() + noted.sizes.tobytes())
    target.write_json(PIECE, asdict(piece))
    return piece


def written_piece(target: Folder) -> Piece | None:
    """What ``write_piece`` has written here; None if it is not complete."""
    return from_json(Piece, target.read_json(PIECE), f"{target.uri}/{PIECE}") if target.exists(PIECE) else None


class _Noted:
    """Rows as they pass, with what their file needs to know of them."""

    def __init__(self, rows: Iterable[Document | Reject], split: str | None, validation_fraction: float) -> None:
        self._source, self._split, self._fraction = rows, split, validation_fraction
        self.groups: dict[Group, int] = {}
        # Ten bytes a document; as Python's numbers they would take several times as much.
        self.places, self.sizes = array("H"), array("Q")
        self.first: dict[str, Reject] = {}
        self.lines = self.rows = 0
        self.is_torn = False

    def __iter__(self) -> Iterator[Document | Reject]:
        for row in self._source:
            if isinstance(row, Reject) and row.reason == "range_end":
                # The end counts as the line after the last.
                self.lines = row.line - 1
                continue
            self.rows += 1
            if isinstance(row, Reject):
                self.is_torn = self.is_torn or row.reason == "corrupt_stream"
                self.first.setdefault(row.reason, row)
            else:
                group = row.lang, self._split or split_of(row.doc_id, self._fraction)
                self.places.append(self.groups.setdefault(group, len(self.groups)))
                self.sizes.append(len(row.text.encode()))
            yield row


def cut_parts(order: Iterable[tuple[Group, int]], part_bytes: int) -> list[Cut]:
    """The parts that ``shard_file`` writes of documents with these groups and bytes of text, in this order."""
    cuts, seen, found = Cuts(part_bytes), Counter[Group](), list[Cut]()
    ends: dict[Group, tuple[int, int]] = {}

    def end(group: Group) -> None:
        chunk, start = ends.get(group, (0, 0))
        if start < seen[group]:
            found.append(Cut(group, chunk, start, seen[group]))
            ends[group] = chunk + 1, seen[group]

    for group, size in order:
        seen[group] += 1
        if ended := cuts.add(group, size):
            end(ended)
    for group in seen:
        end(group)
    return found


def plan_join(pieces: Sequence[Folder], file: SourceFile, number: int, target: Folder, part_bytes: int) -> Join:
    """Where the parts of a source file are to be taken from, and its sidecar; its rejects are written at once.

    pieces: folders of all spans of the file, in order. One document of one piece is looked at at a time.
    """
    records = [from_json(Piece, piece.read_json(PIECE), f"{piece.uri}/{PIECE}") for piece in pieces]
    together = cut_parts(itertools.chain.from_iterable(map(_order, pieces, records)), part_bytes)
    places: dict[Group, list[tuple[int, Source]]] = {}  # of each group the parts of all pieces, where each begins
    begins = Counter[Group]()
    for at, (folder, record) in enumerate(zip(pieces, records, strict=True)):
        held = Counter[Group]()
        # How a piece was cut follows from its order too, by the same rule, so no list of its parts is kept.
        for cut in cut_parts(_order(folder, record), part_bytes):
            source = Source(at, cut.chunk, 0, cut.end - cut.start)
            places.setdefault(cut.group, []).append((begins[cut.group] + cut.start, source))
            held[cut.group] = cut.end
        begins.update(held)
    parts = [JoinedPart(*cut.group, cut.chunk, tuple(_overlaps(cut, places[cut.group]))) for cut in together]
    return Join(tuple(parts), _join_sidecars(pieces, records, file, number, target))


def join_part(pieces: Sequence[Folder], part: JoinedPart, number: int, target: Folder) -> int:
    """Write one part of a source file from its pieces; returns its documents."""
    group = part.lang, part.split
    tables = [
        read_part(pieces[source.piece], *group, part_name(_NUMBER, source.chunk, "parquet")).slice(
            source.start, source.end - source.start
        )
        for source in part.sources
    ]
    # One chunk and one schema, as a single task has them: the file must have the same bytes.
    table = pa.concat_tables(tables).combine_chunks()
    write_part(target, group, number, part.chunk, table.cast(SHARD_SCHEMA))
    return table.num_rows


def _overlaps(cut: Cut, places: Sequence[tuple[int, Source]]) -> Iterator[Source]:
    """Parts of a source file and of its pieces: both are stretches of the group's documents."""
    first = bisect.bisect_right(places, cut.start, key=lambda place: place[0]) - 1
    for begin, source in places[first:]:
        if begin >= cut.end:
            return
        start, end = max(cut.start, begin), min(cut.end, begin + source.end)
        if start < end:
            yield replace(source, start=start - begin, end=end - begin)


def _order(folder: Folder, piece: Piece) -> Iterator[tuple[Group, int]]:
    data = folder.read(_ORDER)
    places, sizes = array("H"), array("Q")
    border = piece.documents * places.itemsize
    places.frombytes(data[:border])
    sizes.frombytes(data[border:])
    groups = [tuple(name.split("/")) for name in piece.groups]
    for place, size in zip(places, sizes, strict=True):
        lang, split = groups[place]
        yield (lang, split), size


def _join_sidecars(
    pieces: Sequence[Folder], records: Sequence[Piece], file: SourceFile, number: int, target: Folder
) -> Sidecar:
    documents, sizes, reasons = Counter[str](), Counter[str](), Counter[str]()
    rejects: list[Reject] = []
    first: dict[str, str] = {}
    lines = rows = 0
    for folder, piece in zip(pieces, records, strict=True):
        sidecar = read_sidecar(folder, _NUMBER)
        documents.update(sidecar.documents)
        sizes.update(sidecar.bytes)
        reasons.update(sidecar.rejects)
        for reason, reject in piece.first.items():
            first.setdefault(reason, tell_reject(_placed(reject, lines, rows)))
        # A piece without rejects has no file of them.
        if sidecar.rejects and len(rejects) < KEPT_REJECTS:
            kept = folder.read(rejects_name(_NUMBER)).rstrip(b"\n").split(b"\n")
            rejects += [_placed(Reject(**json.loads(line)), lines, rows) for line in kept]
        lines, rows = lines + piece.lines, rows + piece.rows
    rejects = rejects[:KEPT_REJECTS]
    write_rejects(target, number, rejects)
    not_kept = reasons.total() - len(rejects)
    return Sidecar(file.uri, dict(documents), dict(sizes), dict(reasons), first, not_kept)


def _placed(reject: Reject, lines: int, rows: int) -> Reject:
    """A reject of a piece by its place in the whole file, before which there are so many lines and rows."""
    return replace(reject, line=reject.line + (rows if reject.reason in _BY_ROW else lines))
