"""A finished tokens stage: what it holds from its manifest, documents and ids from its parts as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.artifacts.layout import MANIFEST, TOKEN_META
from app.artifacts.store import Folder
from app.core.errors import MissingArtifact
from app.core.records import Array, IntArray
from app.tokens.counts import PartCount, TokenCounts, counts_from_json
from app.tokens.index import document_id
from app.tokens.source import FolderParts, PartSource


@dataclass(frozen=True)
class StoredDocument:
    """One document: its token ids as they stand in the stream (with the end token), and the bytes of its text."""

    doc_id: str
    ids: IntArray
    bytes: int


class TokenCorpus:
    """Tokens by language, split and part. ``counts`` needs no token file; nothing grows with the corpus."""

    def __init__(self, meta: Mapping[str, Any], counts: TokenCounts, source: PartSource) -> None:
        self.counts, self._source = counts, source
        self.start_id, self.end_id, self.pad_id = (
            int(meta["start_id"]),
            int(meta["end_id"]),
            int(meta["pad_id"]),
        )
        self.vocab_size = int(meta["vocab_size"])
        self.token_bytes = np.dtype(str(meta["dtype"])).itemsize

    @classmethod
    def open(cls, folder: Folder) -> TokenCorpus:
        """Open a finished tokens stage. Raises MissingArtifact if it is not one, CorruptArtifact if it is torn."""
        if not (folder.exists(TOKEN_META) and folder.exists(MANIFEST)):
            raise MissingArtifact(f"{folder.uri} holds no tokens; run python -m jobs.tokenize")
        meta, counts = folder.read_json(TOKEN_META), folder.read_json(MANIFEST)["counts"]
        dtype = np.dtype(str(meta["dtype"])).newbyteorder("<")
        assert isinstance(counts, dict)
        return cls(meta, counts_from_json(counts, f"{folder.uri}/{MANIFEST}"), FolderParts(folder, dtype))

    def languages(self) -> tuple[str, ...]:
        """Languages that have training text, sorted."""
        return self.counts.languages()

    def index(self, lang: str, split: str, part: PartCount) -> Array:
        """The documents of a part as ``RECORD``s, in order."""
        return self._source.index(lang, split, part)

    def ids(self, lang: str, split: str, part: PartCount) -> Array:
        """The token ids of a part, one document after the other, as they are stored."""
        return self._source.ids(lang, split, part)

    def expect(self, lang: str, split: str, now: Sequence[PartCount], soon: Sequence[PartCount]) -> None:
        """Say which parts are read from here on and which then, so that a remote store's are fetched ahead."""
        self._source.expect(lang, split, now, soon)

    def documents(self, lang: str, split: str) -> Iterator[StoredDocument]:
        """The documents of a language and split in order, one part open at a time."""
        parts = self.counts.parts(lang, split)
        for number, part in enumerate(parts):
            self.expect(lang, split, parts[number : number + 1], parts[number + 1 : number + 2])
            yield from self.documents_of(lang, split, part)

    def documents_of(self, lang: str, split: str, part: PartCount) -> Iterator[StoredDocument]:
        """The documents of one part, in order."""
        ids = self.ids(lang, split, part)
        for number, start, length, size in self.index(lang, split, part).tolist():
            # A copy, in the type that models take; a view would keep the part's file mapped.
            yield StoredDocument(document_id(number), ids[start : start + length].astype(np.int64), size)
