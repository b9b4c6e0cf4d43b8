"""Log-probabilities kept per token and model, so that weights, temperature and m can be swept without a model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.artifacts.layout import SCORES_INDEX, SCORES_VALUES
from app.artifacts.store import Folder
from app.core.records import IntArray


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


def scored_documents(
    doc_ids: Sequence[str], langs: Sequence[str], lengths: Sequence[int], sizes: Sequence[int]
) -> ScoredDocuments:
    """Build the index from columns of equal length."""
    length = np.asarray(lengths, dtype=np.int64)
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64) if len(length) else length
    return ScoredDocuments(tuple(doc_ids), tuple(langs), offset, length, np.asarray(sizes, dtype=np.int64))


def save_scores(folder: Folder, documents: ScoredDocuments, values: NDArray[np.float32]) -> None:
    """Write ``index.parquet`` and ``log_probs.npy`` of one model. values: (tokens,) nats."""
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
    folder.write(SCORES_INDEX, sink.getvalue().to_pybytes())
    write_array(folder, SCORES_VALUES, values)


def load_scores(folder: Folder) -> tuple[ScoredDocuments, NDArray[np.float32]]:
    """Inverse of ``save_scores``."""
    table = pq.read_table(pa.BufferReader(folder.read(SCORES_INDEX)))
    columns = {name: np.asarray(table[name].to_numpy(), dtype=np.int64) for name in ("offset", "length", "bytes")}
    documents = ScoredDocuments(tuple(table["doc_id"].to_pylist()), tuple(table["lang"].to_pylist()), **columns)
    values: NDArray[np.float32] = np.load(io.BytesIO(folder.read(SCORES_VALUES)), allow_pickle=False)
    return documents, values


def write_array(folder: Folder, name: str, values: NDArray[np.float32]) -> None:
    """Write a .npy file without objects."""
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    folder.write(name, sink.getvalue())
