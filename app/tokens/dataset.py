"""Tokens on disk as documents and as training rows: index arithmetic over memory maps, nothing held in memory."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.core.errors import CorpusError, CorruptArtifact, MissingArtifact
from app.core.records import IntArray
from app.core.seeding import generator

_META = "meta.json"


@dataclass(frozen=True)
class DocumentTable:
    """Documents of one language and split in part order; columns of equal length n, lengths in tokens."""

    doc_ids: tuple[str, ...]
    part: IntArray
    offset: IntArray
    length: IntArray
    bytes: IntArray

    def __len__(self) -> int:
        return len(self.doc_ids)


class TokenCorpus:
    """A folder of token parts ``<lang>/<split>/part-*.{bin,parquet}`` with ``meta.json`` at its root."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self._folder = folder
        self.dtype = np.dtype(str(meta["dtype"])).newbyteorder("<")
        self.start_id, self.end_id, self.pad_id = (
            int(meta["start_id"]),
            int(meta["end_id"]),
            int(meta["pad_id"]),
        )
        self.vocab_size = int(meta["vocab_size"])
        self._documents = functools.cache(self._read_documents)
        self._stream = functools.cache(self._open_stream)

    @classmethod
    def open(cls, folder: str) -> TokenCorpus:
        """Open a finished tokens folder. Raises MissingArtifact if it is not one."""
        path = Path(folder)
        if not (path / _META).is_file():
            raise MissingArtifact(f"{folder} holds no tokens; run python -m jobs.tokenize")
        return cls(path, json.loads((path / _META).read_text()))

    def languages(self) -> tuple[str, ...]:
        """Languages that have training text, sorted."""
        return tuple(sorted(path.parent.name for path in self._folder.glob("*/train") if path.is_dir()))

    def documents(self, lang: str, split: str) -> DocumentTable:
        """The documents of one language and split; empty if there are none."""
        return self._documents(lang, split)

    def tokens_of(self, lang: str, split: str, row: int) -> IntArray:
        """Token ids of one document as it stands in the stream (with its end token)."""
        table = self.documents(lang, split)
        return self.read(lang, split, row, 0, int(table.length[row]))

    def read(self, lang: str, split: str, row: int, start: int, stop: int) -> IntArray:
        """Token ids start..stop-1 of one document."""
        table = self.documents(lang, split)
        offset = int(table.offset[row])
        stream = self._stream(lang, split, int(table.part[row]))
        return stream[offset + start : offset + stop].astype(np.int64)

    def _parts(self, lang: str, split: str) -> list[Path]:
        return sorted((self._folder / lang / split).glob("part-*.parquet"))

    def _read_documents(self, lang: str, split: str) -> DocumentTable:
        doc_ids: list[str] = []
        columns: dict[str, list[IntArray]] = {"part": [], "offset": [], "length": [], "bytes": []}
        for number, path in enumerate(self._parts(lang, split)):
            table = pq.read_table(path)
            doc_ids += table["doc_id"].to_pylist()
            columns["part"].append(np.full(len(table), number, dtype=np.int64))
            for name in ("offset", "length", "bytes"):
                columns[name].append(np.asarray(table[name].to_numpy(), dtype=np.int64))
        joined = {name: np.concatenate(parts or [np.zeros(0, np.int64)]) for name, parts in columns.items()}
        return DocumentTable(tuple(doc_ids), **joined)

    def _open_stream(self, lang: str, split: str, part: int) -> NDArray[Any]:
        path = self._parts(lang, split)[part].with_suffix(".bin")
        table = self.documents(lang, split)
        tokens = int(table.length[table.part == part].sum())
        size = path.stat().st_size if path.is_file() else 0
        if size != tokens * self.dtype.itemsize:
            raise CorruptArtifact(
                f"{path} has {size} bytes, its index says {tokens} tokens of {self.dtype.itemsize} bytes;"
                f" delete {self._folder} and run python -m jobs.tokenize again"
            )
        return np.memmap(path, dtype=self.dtype, mode="r") if size else np.zeros(0, self.dtype)


class BlockDataset:
    """Training rows of ``sequence_length`` tokens, each from one language; row i is a function of (seed, i).

    A language's documents are concatenated in an order drawn anew for each epoch and cut into rows; the remainder
    of an epoch that fills no row is left out. How many rows a language gets is its weight times ``num_blocks``
    (largest remainders), in a random order; so exposure is exact, not an expectation.
    """

    def __init__(
        self,
        corpus: TokenCorpus,
        documents: Mapping[str, IntArray],
        weights: Mapping[str, float],
        sequence_length: int,
        num_blocks: int,
        seed: int,
    ) -> None:
        self._corpus, self._length, self._seed = corpus, sequence_length, seed
        self._names = sorted(lang for lang, weight in weights.items() if weight > 0)
        self._rows = {lang: documents[lang] for lang in self._names}
        lengths = {lang: corpus.documents(lang, "train").length[self._rows[lang]] for lang in self._names}
        self._per_epoch = {lang: int(lengths[lang].sum()) // sequence_length for lang in self._names}
        for lang, blocks in self._per_epoch.items():
            if not blocks:
                raise CorpusError(
                    f"{lang} has {int(lengths[lang].sum())} training tokens, less than one row of {sequence_length};"
                    " leave it out of corpus.languages or lower training.sequence_length"
                )
        counts = _largest_remainders([weights[lang] for lang in self._names], num_blocks)
        order = np.repeat(np.arange(len(self._names)), counts)
        generator(seed, "languages").shuffle(order)
        self._language = order
        self._ordinal = np.zeros(num_blocks, dtype=np.int64)
        for number in range(len(self._names)):
            places = np.flatnonzero(order == number)
            self._ordinal[places] = np.arange(len(places))
        self._epoch = functools.lru_cache(maxsize=2 * len(self._names))(self._read_epoch)

    def __len__(self) -> int:
        return len(self._language)

    def rows(self, start: int, stop: int) -> IntArray:
        """Rows start..stop-1, (stop - start, sequence_length) int64; 0 <= start <= stop <= len(self)."""
        assert 0 <= start <= stop <= len(self)
        out = np.empty((stop - start, self._length), dtype=np.int64)
        for line, i in enumerate(range(start, stop)):
            out[line] = self._row(i)
        return out

    def languages(self, start: int, stop: int) -> list[str]:
        """Language of each of the rows start..stop-1."""
        return [self._names[number] for number in self._language[start:stop]]

    def exposure(self) -> dict[str, int]:
        """Tokens seen per language over all rows."""
        counts = np.bincount(self._language, minlength=len(self._names))
        return {lang: int(count) * self._length for lang, count in zip(self._names, counts, strict=True)}

    def _row(self, i: int) -> IntArray:
        lang = self._names[self._language[i]]
        epoch, ordinal = divmod(int(self._ordinal[i]), self._per_epoch[lang])
        order, starts, blocks = self._epoch(lang, epoch)
        position = int(blocks[ordinal]) * self._length
        left = self._length
        pieces: list[IntArray] = []
        place = int(np.searchsorted(starts, position, side="right")) - 1
        table = self._corpus.documents(lang, "train")
        while left:
            row = int(order[place])
            begin = position - int(starts[place])
            stop = min(int(table.length[row]), begin + left)
            if stop > begin:
                pieces.append(self._corpus.read(lang, "train", row, begin, stop))
                left -= stop - begin
                position += stop - begin
            place += 1
        return np.concatenate(pieces)

    def _read_epoch(self, lang: str, epoch: int) -> tuple[IntArray, IntArray, IntArray]:
        """Document order, start of each document in the concatenation, and order of the rows, for one epoch."""
        order = self._rows[lang].copy()
        generator(self._seed, "documents", lang, epoch).shuffle(order)
        lengths = self._corpus.documents(lang, "train").length[order]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        blocks = generator(self._seed, "rows", lang, epoch).permutation(self._per_epoch[lang])
        return order, starts, blocks


def _largest_remainders(weights: list[float], total: int) -> IntArray:
    exact = np.asarray(weights) / sum(weights) * total
    counts = np.floor(exact).astype(np.int64)
    for i in np.argsort(-(exact - counts), kind="stable")[: total - int(counts.sum())]:
        counts[i] += 1
    return counts
