"""Log-probabilities kept per token and model, so that weights, temperature and m can be swept without a model.

They are kept in blocks of whole documents: who reads them block by block holds no more than one of each model.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.artifacts.counts import ScoresCounts
from app.artifacts.layout import scores_index_name, scores_values_name
from app.artifacts.store import Folder, StageFolder
from app.core.records import IntArray

CELLS_AT_ONCE = 1 << 23
"""Tokens times experts of one piece: 64 MiB for each of the arrays that a mixture is computed in."""
BLOCK_TOKENS = 1 << 20
"""A block closes with the document that brings it to so many: 4 MiB of log-probabilities a model, few files for any
text, and the preset experiments are one block."""


@dataclass(frozen=True)
class ScoredDocuments:
    """The documents that were scored, in order; ``offset`` and ``length`` index the token arrays, ``bytes`` is UTF-8.

    ``bytes`` counts the text that was scored: a document cut at a limit counts up to the cut.
    """

    doc_ids: tuple[str, ...]
    langs: tuple[str, ...]
    offset: IntArray
    length: IntArray
    bytes: IntArray

    def __len__(self) -> int:
        return len(self.doc_ids)

    @property
    def num_tokens(self) -> int:
        """Tokens scored in all."""
        return int(self.length.sum())

    def tokens(self, document: int) -> slice:
        """Where a document stands in the token arrays."""
        start = int(self.offset[document])
        return slice(start, start + int(self.length[document]))

    def pieces(self, most: int) -> Iterator[tuple[ScoredDocuments, slice]]:
        """Runs of whole documents of at most so many tokens (or one longer document), and where their tokens stand."""
        first, ends = 0, self.offset + self.length
        while first < len(self):
            begin = int(self.offset[first])
            # side="right": a document that ends just at the limit still fits.
            stop = max(first + 1, int(np.searchsorted(ends, begin + most, side="right")))
            some = slice(first, stop)
            piece = ScoredDocuments(
                self.doc_ids[some], self.langs[some], self.offset[some] - begin, self.length[some], self.bytes[some]
            )
            yield piece, slice(begin, int(ends[stop - 1]))
            first = stop


@dataclass(frozen=True)
class ScoredBlock:
    """Documents under several models. log_probs: model -> (tokens,) nats."""

    documents: ScoredDocuments
    log_probs: Mapping[str, NDArray[np.float32]]


def scored_documents(
    doc_ids: Sequence[str], langs: Sequence[str], lengths: Sequence[int], sizes: Sequence[int]
) -> ScoredDocuments:
    """Build the index from columns of equal length."""
    length = np.asarray(lengths, dtype=np.int64)
    # The first document begins at 0 only where there is one.
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64) if len(length) else length
    return ScoredDocuments(tuple(doc_ids), tuple(langs), offset, length, np.asarray(sizes, dtype=np.int64))


def save_block(folder: Folder, block: int, documents: ScoredDocuments, values: NDArray[np.float32]) -> None:
    """Write a block of one model, its index last. values: (tokens,) nats."""
    table = pa.table(
        {
            "doc_id": list(documents.doc_ids),
            "lang": list(documents.langs),
            "offset": documents.offset,
            "length": documents.length,
            "bytes": documents.bytes,
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_array(folder, scores_values_name(block), values)
    folder.write(scores_index_name(block), sink.getvalue().to_pybytes())


def read_blocks(scores: Mapping[str, StageFolder]) -> Iterator[ScoredBlock]:
    """The blocks of several models' scores of one text, one at a time. scores: finished stages by model.

    Raises MissingArtifact, StaleArtifact or CorruptArtifact.
    """
    first = next(iter(scores.values()))
    for block in range(first.counts(ScoresCounts).blocks):
        # All models are scored on the same blocks, so the index of one serves all.
        documents = _read_index(first, block)
        yield ScoredBlock(
            documents, {name: read_array(folder, scores_values_name(block)) for name, folder in scores.items()}
        )


def _read_index(folder: Folder, block: int) -> ScoredDocuments:
    table = pq.read_table(pa.BufferReader(folder.read(scores_index_name(block))))
    columns = {name: np.asarray(table[name].to_numpy(), dtype=np.int64) for name in ("offset", "length", "bytes")}
    return ScoredDocuments(tuple(table["doc_id"].to_pylist()), tuple(table["lang"].to_pylist()), **columns)


def write_array(folder: Folder, name: str, values: NDArray[np.float32]) -> None:
    """Write a .npy file without objects."""
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    folder.write(name, sink.getvalue())


def read_array(folder: Folder, name: str) -> NDArray[np.float32]:
    """Inverse of ``write_array``."""
    values: NDArray[np.float32] = np.load(io.BytesIO(folder.read(name)), allow_pickle=False)
    return values
