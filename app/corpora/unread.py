"""Files that are there and are not read: found out, told, and refused where they are most of the input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from app.core.errors import CorpusError
from app.core.units import format_bytes
from app.corpora.base import Unread
from app.corpora.streams import open_binary

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/.*?^size (\d+)", re.DOTALL | re.MULTILINE)
_POINTER_BYTES = 1024
"""The longest that a Git LFS pointer may be, by its specification."""
_NAMED = 3


class _Sized(Protocol):
    @property
    def uri(self) -> str: ...

    @property
    def size_bytes(self) -> int | None: ...


_File = TypeVar("_File", bound=_Sized)


def sift(files: Iterable[_File]) -> tuple[list[_File], list[Unread]]:
    """Files that hold something, and those that are empty or stand for a file that was never downloaded."""
    kept, unread = [], []
    for file in files:
        if file.size_bytes == 0:
            unread.append(Unread(file.uri, "empty"))
        elif (meant := _pointed_at(file)) is not None:
            why = "a Git LFS pointer and not the file itself; run `git lfs pull` in the copy"
            unread.append(Unread(file.uri, why, meant, is_loss=True))
        else:
            kept.append(file)
    return kept, unread


def tell_unread(unread: Sequence[Unread]) -> list[str]:
    """A line for each reason, those first that may be a loss, with the names of the first few files, or what they were
    taken for.
    """
    reasons = dict.fromkeys(file.why for file in sorted(unread, key=lambda file: not file.is_loss))
    groups = [[file for file in unread if file.why == why] for why in reasons]
    return [f"not read: {_count(group)}: {group[0].why} ({_told(group)})" for group in groups]


def refuse_most_unread(place: str, read: Sequence[_Sized], unread: Sequence[Unread]) -> None:
    """Raise CorpusError if what is lost is more than what is read, by bytes or by number of files meant as text."""
    lost = [file for file in unread if file.is_loss]
    lost_bytes, read_bytes = sum(file.size_bytes for file in lost), sum(file.size_bytes or 0 for file in read)
    # Files that are of unknown kinds, or may be, count by bytes alone: many small ones may lie beside any corpus.
    missing = [file for file in lost if file.why not in (UNKNOWN_KIND, STRANGE_NAME)]
    if lost_bytes > read_bytes or len(missing) > len(read):
        raise CorpusError(
            f"{place}: most of it would not be read: {_count(lost)} with {format_bytes(lost_bytes)}, against"
            f" {len(read)} files with {format_bytes(read_bytes)} that would; {'; '.join(tell_unread(lost))}. Put the"
            " files right or take them away; or name those to read by a glob, such as corpus.path='folder/**/*.jsonl'"
        )


UNKNOWN_KIND = "no known kind of text file"
STRANGE_NAME = "its name is not UTF-8: rename it, or its folder"
BEYOND_THE_LIMIT = "beyond corpus.max_files_per_language"
OTHER_LANGUAGE = "their language is not one of corpus.languages"


def _pointed_at(file: _Sized) -> int | None:
    """Bytes of the file that a Git LFS pointer stands for; None if it is none."""
    # Larger files are no pointers, and opening each would cost a request on a remote storage.
    if file.size_bytes is None or file.size_bytes > _POINTER_BYTES:
        return None
    with open_binary(file.uri) as stream:
        found = _POINTER.match(stream.read(_POINTER_BYTES))
    return int(found.group(1)) if found else None


def _count(files: Sequence[Unread]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}"


def _told(files: Sequence[Unread]) -> str:
    """The first few names; or all that the files were taken for, since a wrong guess may stand anywhere among it."""
    taken_for = Counter(file.taken_for for file in files if file.taken_for)
    if taken_for:
        return ", ".join(f"{count} {meaning}" for meaning, count in sorted(taken_for.items()))
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(file.name for file in files[:_NAMED]) + more
