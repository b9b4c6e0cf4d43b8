"""Files that were read and gave nothing, or less than they lost: named, and refused where they are the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.core.errors import CorpusError
from app.core.units import format_bytes
from app.corpora.base import Reason, SourceFile, Unread
from app.corpora.shards import Sidecar
from app.corpora.unread import tell_unread

_FAULTS: tuple[Reason, ...] = (
    "corrupt_stream",
    "bad_json",
    "bad_encoding",
    "line_too_long",
    "not_text",
    "missing_column",
    "unknown_language",
)
"""Reasons that mean a row could not be read, and not that it was read and is not wanted."""
_TOLD = 20


@dataclass(frozen=True)
class PoorFile:
    """A file that gave no document, lost more rows than it gave, or is torn. ``rejects``: rows by reason.

    ``share``: of its rows that could not be read, 0 to 1; of a torn one what lies behind the tear is not known.
    """

    file: str
    size_bytes: int
    documents: int
    rejects: Mapping[str, int]
    sample: str
    share: float

    def __str__(self) -> str:
        lost = ", ".join(f"{reason} {count}" for reason, count in self.rejects.items()) or "it has no row"
        found = f"{self.documents} documents" if self.documents else "no document"
        return f"{self.file}: {found}; {lost}{self.sample and f' ({self.sample})'}"


def find_poor_files(files: Sequence[SourceFile], sidecars: Sequence[Sidecar]) -> list[PoorFile]:
    """The poor files of a corpus, in its order. sidecars: one of each file."""
    found = []
    for file, sidecar in zip(files, sidecars, strict=True):
        documents, rejects = sum(sidecar.documents.values()), sum(sidecar.rejects.values())
        faults = sum(sidecar.rejects.get(reason, 0) for reason in _FAULTS)
        if documents and faults <= documents and "corrupt_stream" not in sidecar.rejects:
            continue
        # A file without any row is lost whole; one whose rows were read and are not wanted is not lost at all.
        share = faults / (faults + documents) if faults else float(not documents and not rejects)
        worst = max(sidecar.rejects, key=lambda reason: sidecar.rejects[reason], default="")
        sample = sidecar.first_rejects.get(worst, "")
        found.append(PoorFile(file.uri, file.size_bytes or 0, documents, sidecar.rejects, sample, share))
    return found


def tell_poor_files(poor: Sequence[PoorFile], named: int) -> list[str]:
    """A line for each of the first files. named: how many of them, from the first on, the data card names."""
    if len(poor) <= _TOLD:
        return list(map(str, poor))
    card = "all named in the data card" if named >= len(poor) else f"the data card names the first {named} of all"
    return [*map(str, poor[:_TOLD]), f"and {len(poor) - _TOLD} more files, {card}"]


def refuse_most_lost(place: str, files: Sequence[SourceFile], left: Sequence[Unread], poor: Sequence[PoorFile]) -> None:
    """Raise CorpusError if more than half of the bytes could not be read. files: that were read; left: unread ones of
    the same input, none where only a part of it was read on purpose.
    """
    unread = [file for file in left if file.is_loss]
    lost = sum(file.size_bytes for file in unread) + sum(file.size_bytes * file.share for file in poor)
    total = sum(file.size_bytes for file in unread) + sum(file.size_bytes or 0 for file in files)
    if lost > total / 2:
        told = "; ".join([*[str(file) for file in poor if file.share][:3], *tell_unread(unread)])
        raise CorpusError(
            f"{place}: about {format_bytes(lost)} of {format_bytes(total)} could not be read: {told}. Check"
            " corpus.columns, put the files right, or name those to read by a glob in corpus.path"
        )
