"""One source file in, numbered parquet parts out: the work of one task of the corpus pass.

The parts of a source file carry its number, and its sidecar with the counts is written last; so a task that is
killed is simply run again and ends with the same files, whatever else ran in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
        "text": pa.large_string(),
        "url": pa.string(),
        "timestamp": pa.string(),
        "bytes": pa.int64(),
    }
)
_KEPT_REJECTS_PER_FILE = 1000
_HELD_PARTS = 4


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


@dataclass
class _Buffer:
    rows: list[Document] = field(default_factory=list)
    text_bytes: int = 0
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

    ``part_bytes``: text bytes per part. Memory stays near four times this however many languages the file mixes: then
    the largest part is written early. Every row that is not used is counted by reason; the first thousand of a
    file are kept with a sample.
    """
    buffers: dict[tuple[str, str], _Buffer] = {}
    documents: Counter[str] = Counter()
    text_bytes: Counter[str] = Counter()
    rejects: list[Reject] = []
    reasons: Counter[str] = Counter()
    first: dict[str, str] = {}
    held = 0
    for row in rows:
        if isinstance(row, Reject):
            reasons[row.reason] += 1
            first.setdefault(row.reason, f"row {row.line}: {row.sample}")
            if len(rejects) < _KEPT_REJECTS_PER_FILE:
                rejects.append(row)
            continue
        split = file.split or split_of(row.doc_id, validation_fraction)
        buffer = buffers.setdefault((row.lang, split), _Buffer())
        size = len(row.text.encode())
        buffer.rows.append(row)
        buffer.text_bytes += size
        documents[f"{row.lang}/{split}"] += 1
        text_bytes[f"{row.lang}/{split}"] += size
        held += size
        if buffer.text_bytes >= part_bytes or held >= _HELD_PARTS * part_bytes:
            largest = max(buffers, key=lambda key: buffers[key].text_bytes)
            held -= buffers[largest].text_bytes
            _flush(buffers[largest], *largest, number, target)
    for (lang, split), buffer in buffers.items():
        _flush(buffer, lang, split, number, target)
    if rejects:
        lines = [json.dumps(vars(reject), ensure_ascii=False) for reject in rejects]
        target.write(rejects_name(number), ("\n".join(lines) + "\n").encode())
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


def _flush(buffer: _Buffer, lang: str, split: str, number: int, target: Folder) -> None:
    if not buffer.rows:
        return
    columns = {name: [getattr(row, name) for row in buffer.rows] for name in SHARD_SCHEMA.names if name != "bytes"}
    columns["bytes"] = [len(text.encode()) for text in columns["text"]]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SHARD_SCHEMA), sink, compression="zstd")
    name = part_name(number, buffer.chunk, "parquet")
    target.write(f"{shard_folder(lang, split)}/{name}", sink.getvalue().to_pybytes())
    buffer.rows, buffer.text_bytes, buffer.chunk = [], 0, buffer.chunk + 1
