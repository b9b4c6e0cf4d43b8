"""One source file in, numbered parquet parts out: the work of one task of the corpus pass.

The parts of a source file carry its number, and its sidecar with the counts is written last; so a task that is
killed is simply run again and ends with the same files, whatever else ran in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.layout import part_name, rejects_name, shard_folder, sidecar_name
from app.artifacts.store import Folder
from app.core.records import Document
from app.core.typed import from_json
from app.corpora.base import Reject, SourceFile, split_of

SHARD_SCHEMA = pa.schema(
    {
        "doc_id": pa.string(),
        "lang": pa.string(),
        # Offsets of 64 bits: a column of plain strings ends at 2 GiB.
        "text": pa.large_string(),
        "url": pa.string(),
        "timestamp": pa.string(),
        "bytes": pa.int64(),
    }
)
KEPT_REJECTS = 1000
"""Of a source file, with a sample."""
_HELD_PARTS = 4
_HELD_ROWS = 500_000
"""A document takes some 360 bytes of memory beside its text: of sentences that is most of it."""
Group = tuple[str, str]
"""Language and split."""


@dataclass(frozen=True)
class Sidecar:
    """What became of one source file. ``documents`` and ``bytes``: by ``<lang>/<split>``; ``rejects``: by reason.

    ``first_rejects``: a sample of each reason. ``rejects_not_kept``: how many have no sample in ``rejects/``.
    """

    file: str
    documents: Mapping[str, int]
    bytes: Mapping[str, int]
    rejects: Mapping[str, int]
    first_rejects: Mapping[str, str]
    rejects_not_kept: int


class Cuts:
    """Where the parts of a source file end, from the sizes of its documents in their order.

    ``part_bytes``: text bytes per part. Held is at most four times this, and half a million documents, however many
    groups the file mixes: then the largest part is written early.
    """

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._bytes: dict[Group, int] = {}
        self._rows: dict[Group, int] = {}
        self._held = self._held_rows = 0

    def add(self, group: Group, size: int) -> Group | None:
        """Count the next document; return the group whose part ends with it, if one does."""
        self._bytes[group] = self._bytes.get(group, 0) + size
        self._rows[group] = self._rows.get(group, 0) + 1
        self._held += size
        self._held_rows += 1
        if self._bytes[group] >= self._part_bytes or self._held >= _HELD_PARTS * self._part_bytes:
            largest = max(self._bytes, key=lambda group: self._bytes[group])
        elif self._held_rows >= _HELD_ROWS:
            largest = max(self._rows, key=lambda group: self._rows[group])
        else:
            return None
        self._held -= self._bytes.pop(largest)
        self._held_rows -= self._rows.pop(largest)
        return largest


@dataclass
class _Buffer:
    rows: list[Document] = field(default_factory=list)
    chunk: int = 0


def shard_file(
    rows: Iterable[Document | Reject],
    file: SourceFile,
    number: int,
    target: Folder,
    validation_fraction: float,
    part_bytes: int,
) -> Sidecar:
    """Write one source file's rows as ``<lang>/<split>/part-<number>-<chunk>.parquet``; return what became of them.

    ``part_bytes``: see Cuts, which bounds the memory too. Every row that is not used is counted by reason; the first
    thousand of a file are kept with a sample.
    """
    buffers: dict[Group, _Buffer] = {}
    documents: Counter[str] = Counter()
    text_bytes: Counter[str] = Counter()
    rejects: list[Reject] = []
    reasons: Counter[str] = Counter()
    first: dict[str, str] = {}
    cuts = Cuts(part_bytes)
    for row in rows:
        if isinstance(row, Reject):
            reasons[row.reason] += 1
            first.setdefault(row.reason, tell_reject(row))
            if len(rejects) < KEPT_REJECTS:
                rejects.append(row)
            continue
        group = row.lang, file.split or split_of(row.doc_id, validation_fraction)
        size = len(row.text.encode())
        buffers.setdefault(group, _Buffer()).rows.append(row)
        documents["/".join(group)] += 1
        text_bytes["/".join(group)] += size
        if ended := cuts.add(group, size):
            _flush(buffers[ended], ended, number, target)
    for group, buffer in buffers.items():
        _flush(buffer, group, number, target)
    write_rejects(target, number, rejects)
    not_kept = reasons.total() - len(rejects)
    sidecar = Sidecar(file.uri, dict(documents), dict(text_bytes), dict(reasons), first, not_kept)
    target.write_json(sidecar_name(number), asdict(sidecar))
    return sidecar


def read_sidecar(folder: Folder, number: int) -> Sidecar:
    """What became of a source file. Raises MissingArtifact or CorruptArtifact."""
    return from_json(Sidecar, folder.read_json(sidecar_name(number)), f"{folder.uri}/{sidecar_name(number)}")


def read_part(folder: Folder, lang: str, split: str, part: str, columns: list[str] | None = None) -> pa.Table:
    """One part of a shards stage as an Arrow table with the columns of ``SHARD_SCHEMA``, in row order."""
    return pq.read_table(pa.BufferReader(folder.read(f"{shard_folder(lang, split)}/{part}")), columns=columns)


def part_names(folder: Folder, lang: str, split: str) -> list[str]:
    """Names of the parts of one language and split, in order."""
    return [name for name in folder.names(shard_folder(lang, split)) if name.endswith(".parquet")]


def read_documents(folder: Folder, lang: str, split: str) -> Iterator[Mapping[str, str]]:
    """The documents of one language and split in part order, one part in memory at a time."""
    for part in part_names(folder, lang, split):
        yield from read_part(folder, lang, split, part, ["doc_id", "lang", "text"]).to_pylist()


def tell_reject(reject: Reject) -> str:
    """One line on a reject of a file that is known."""
    return f"row {reject.line}: {reject.sample}"


def write_rejects(target: Folder, number: int, rejects: Sequence[Reject]) -> None:
    """The rejects of a source file that are kept; no file if there are none."""
    if rejects:
        lines = [json.dumps(vars(reject), ensure_ascii=False) for reject in rejects]
        target.write(rejects_name(number), ("\n".join(lines) + "\n").encode())


def write_part(target: Folder, group: Group, number: int, chunk: int, table: pa.Table) -> None:
    """One part of a source file; table: with ``SHARD_SCHEMA``."""
    # In memory first: the store writes a file whole or not at all, so a killed task leaves no torn part.
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    target.write(f"{shard_folder(*group)}/{part_name(number, chunk, 'parquet')}", sink.getvalue().to_pybytes())


def _flush(buffer: _Buffer, group: Group, number: int, target: Folder) -> None:
    if not buffer.rows:
        return
    columns = {name: [getattr(row, name) for row in buffer.rows] for name in SHARD_SCHEMA.names if name != "bytes"}
    columns["bytes"] = [len(text.encode()) for text in columns["text"]]
    write_part(target, group, number, buffer.chunk, pa.table(columns, schema=SHARD_SCHEMA))
    buffer.rows, buffer.chunk = [], buffer.chunk + 1
