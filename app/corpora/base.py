"""What a corpus is: a list of files, each a stream of documents and of rows that could not be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from app.core.records import Document, JsonObject

READING_VERSION = 2
"""Raised when the same files give other documents than before: part of the shards' key."""

Reason = Literal[
    "corrupt_stream",
    "bad_json",
    "bad_encoding",
    "empty_text",
    "line_too_long",
    "not_text",
    "missing_column",
    "unknown_language",
    "other_language",
    "thinned_source",
    "near_duplicate",
    "misidentified",
    "range_end",
]
"""Why a row is not used. ``range_end`` is no row: it follows the last one of a span and says how many they were."""


@dataclass(frozen=True)
class CorpusSettings:
    """How to find and read a corpus; ``columns`` maps our column names to the corpus's, a limit of 0 is none.

    ``line_break``: what stands for a line break in the texts, if it is not one. ``source_weights``: share to keep of
    the documents of each value of the source column, 0 to 1; of a value that is not named, all.
    """

    source: str
    path: str | None = None
    languages: tuple[str, ...] = ()
    seed: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    line_break: str = ""
    source_weights: Mapping[str, float] = field(default_factory=dict)
    max_files_per_language: int = 0
    max_documents_per_file: int = 0
    max_line_bytes: int = 16_000_000
    min_characters: int = 1
    revision: str | None = None
    staging_dir: str = "staging"
    keep_staged: bool = False
    retries: int = 8
    retry_wait_seconds: float = 1.0
    documents_per_language: int = 400
    validation_documents_per_language: int = 40

    def column(self, ours: str) -> str:
        """The corpus's name of one of our columns."""
        return self.columns.get(ours, ours)


@dataclass(frozen=True)
class Span:
    """A part of a file, up to ``end`` and without it: bytes as they are stored, or row groups of a parquet file."""

    start: int
    end: int


@dataclass(frozen=True)
class SourceFile:
    """One unit of work: a file or a chunk of generated text.

    ``lang``: by its place; a row's own language goes before it, but where the place is documented
    (``is_language_sure``). ``split`` None: each document's hash says. ``is_open``: its ``uri`` can be read where it is,
    from any byte on. ``span``: the part of it to read, None for all.
    """

    uri: str
    lang: str | None = None
    split: str | None = None
    size_bytes: int | None = None
    is_language_sure: bool = False
    is_open: bool = False
    span: Span | None = None


SAMPLE_CHARACTERS = 200
"""What is kept of a row that is not used."""


@dataclass(frozen=True)
class Row:
    """A row of a file before it is known whether it is a document.

    ``number`` counts from 1; a row that cannot be read has a ``reason`` and a ``sample`` in place of values.
    """

    number: int
    values: Mapping[str, Any]
    reason: Reason | None = None
    sample: str = ""


@dataclass(frozen=True)
class Reject:
    """A row that is not used; ``line`` counts from 1, ``sample`` is at most its first 200 characters."""

    file: str
    line: int
    reason: Reason
    sample: str


@dataclass(frozen=True)
class Unread:
    """A file or folder that was found and is not read. ``is_loss``: it may hold text that was meant to be read.
    ``taken_for``: what it was understood as, where files that share a reason differ in it.
    """

    name: str
    why: str
    size_bytes: int = 0
    is_loss: bool = False
    taken_for: str = ""


@dataclass(frozen=True)
class Survey:
    """What a corpus makes of its place before any text is read: sentences for the log, and the files left unread."""

    understood: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()


class Corpus(Protocol):
    """A source of text."""

    def files(self) -> Sequence[SourceFile]:
        """Every unit of work, in a fixed order. Raises CorpusError, saying what was found, if there is none."""

    def survey(self) -> Survey:
        """What was understood of the place, and every file there that ``files`` leaves out."""

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """The rows of one unit, streaming; a bad row or a torn stream is a Reject, never an exception."""

    def release(self, file: SourceFile) -> None:
        """Nothing is read of this unit any more: a downloaded copy of it may go."""

    def fingerprint(self) -> JsonObject:
        """What identifies the input, for the store's key."""


def document_id(lang: str, text: str) -> str:
    """16 hex digits that depend on language and text only, so equal texts are seen as duplicates."""
    return hashlib.blake2b(f"{lang}\x1f{text}".encode(), digest_size=8).hexdigest()


def split_of(doc_id: str, validation_fraction: float) -> str:
    """``train`` or ``validation``, by the document's hash alone: the same in every run and on every machine."""
    return "validation" if is_drawn(doc_id, b"split", validation_fraction) else "train"


def is_drawn(doc_id: str, purpose: bytes, share: float) -> bool:
    """Whether the document's hash, one for each purpose, is in the first ``share`` of the numbers."""
    # Independent hashes: else what one purpose keeps would decide what another holds out.
    position = int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8, person=purpose).digest(), "big")
    return position < share * 2**64


def hold_out_by_hash(files: Sequence[SourceFile]) -> list[SourceFile]:
    """The files, with no split for those of languages that have training files and none to hold out.

    Else such a corpus is trained on whole, and can then not be evaluated.
    """
    held_out = {file.lang for file in files if file.split == "validation"}
    return [
        replace(file, split=None) if file.split == "train" and file.lang not in held_out else file for file in files
    ]


def first_files(files: Sequence[SourceFile], limit: int) -> list[SourceFile]:
    """The first ``limit`` files of each language and split, in the given order; all of them for 0."""
    seen: Counter[tuple[str | None, str | None]] = Counter()
    kept = []
    for file in files:
        seen[file.lang, file.split] += 1
        if not limit or seen[file.lang, file.split] <= limit:
            kept.append(file)
    return kept
