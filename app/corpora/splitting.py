"""Which files are read by several tasks, and where they are cut; the others are said to be one task each."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from app.core.errors import CorpusError
from app.corpora import parquet_rows
from app.corpora.base import SourceFile, Span
from app.corpora.json_rows import is_by_line
from app.corpora.ranges import byte_ranges, group_ranges
from app.corpora.streams import CORRUPT, open_binary
from app.corpora.zstd_frames import frame_starts

PLAIN = (".jsonl", ".ndjson", ".json")
_CUT = (*PLAIN, ".zst", parquet_rows.SUFFIX)


def why_whole(file: SourceFile, max_documents: int) -> str:
    """Why a file is one task however large it is, by its name and place alone; empty if it may be cut."""
    suffix = _suffix(file)
    if not file.is_open:
        return "it is fetched whole"
    if max_documents:
        return "corpus.max_documents_per_file counts from its first"
    return "" if suffix in _CUT else f"{suffix.lstrip('.') or 'its format'} can only be read from its beginning"


def find_spans(file: SourceFile, most_bytes: int) -> list[Span]:
    """Where a file is cut so that a task reads about ``most_bytes``, whole row groups or frames; else one span or none.

    A file that is torn or is not what its name says is not cut: reading says what is wrong with it.
    """
    size = file.size_bytes or 0
    try:
        if _suffix(file) == parquet_rows.SUFFIX:
            return group_ranges(parquet_rows.group_bytes(file.uri), most_bytes)
        if not is_by_line(file.uri):
            return []
        if _suffix(file) in PLAIN:
            return byte_ranges(size, most_bytes)
        return _frames(file.uri, size, most_bytes)
    except (CorpusError, *CORRUPT):
        return []


def tell_whole(files: Sequence[SourceFile], reasons: Sequence[str]) -> list[str]:
    """A line for each reason, with the names of the first files."""
    lines = []
    for why, count in Counter(reasons).items():
        names = [file.uri for file, reason in zip(files, reasons, strict=True) if reason == why]
        more = f" and {count - 3} more" if count > 3 else ""
        lines.append(f"one task each, however large: {', '.join(names[:3])}{more}: {why}")
    return lines


def _frames(uri: str, size: int, most_bytes: int) -> list[Span]:
    with open_binary(uri) as raw:

        def read(at: int, length: int) -> bytes:
            raw.seek(at)
            return raw.read(length)

        starts = frame_starts(read, size, most_bytes)
    if not starts:
        return []
    starts[0] = 0  # what stands before the first frame
    sizes = [end - start for start, end in itertools.pairwise(starts)]
    return [Span(starts[span.start], starts[span.end]) for span in group_ranges(sizes, most_bytes)]


def _suffix(file: SourceFile) -> str:
    name = file.uri.rpartition("/")[2].lower()
    return f".{name.rpartition('.')[2]}" if "." in name else ""
