"""Sums of log-probability by document and language, in memory that does not grow with the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray, IntArray
from app.evaluation.scores import ScoredDocuments

MOST_UNITS = 4096
"""Of a language. The bootstrap's intervals do not need more: the error of a standard error from n units is about
1 / sqrt(2 n), here 1 to 2 %, as that of the resamples."""


@dataclass(frozen=True)
class LanguageTotals:
    """A language under one system: log-probability (nats), tokens and bytes of each unit, (n,), in order.

    A unit is one document, or of more than ``MOST_UNITS`` documents equally many that follow each other (the last may
    have fewer). documents: in all of them.
    """

    log_prob: FloatArray
    tokens: IntArray
    bytes: IntArray
    documents: int

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability per token."""
        return float(np.exp(self.nats_per_token))

    @property
    def nats_per_token(self) -> float:
        """Mean negative log-probability."""
        return float(-self.log_prob.sum() / self.tokens.sum())

    @property
    def bits_per_byte(self) -> float:
        """-log2 p(text) / UTF-8 bytes of the text."""
        return float(-self.log_prob.sum() / np.log(2) / self.bytes.sum())


def document_sums(documents: ScoredDocuments, values: FloatArray) -> FloatArray:
    """(documents,) sum of the token log-probabilities (tokens,) of each."""
    # For an empty document reduceat would give the next one's first token, not 0; none is empty.
    sums: FloatArray = np.add.reduceat(values, documents.offset) if len(documents) else np.zeros(0)
    return sums


class Totals:
    """Units of each language under several systems, grown by runs of documents.

    Document i of a language is in unit i // size; where a language would have more than ``most`` units, neighbours are
    merged and size doubles. So units depend on the order of documents alone, not on how they are handed over, and of
    at most ``most`` documents each is a unit. The first run says which systems there are; all have the same.
    """

    def __init__(self, most: int = MOST_UNITS) -> None:
        assert most >= 2, f"{most} units"
        self._systems: tuple[str, ...] = ()
        self._most = most
        self._languages: dict[str, _Units] = {}

    def add_tokens(self, documents: ScoredDocuments, log_probs: Mapping[str, FloatArray]) -> None:
        """Add documents. log_probs: system -> (tokens,) nats."""
        sums = {name: document_sums(documents, values) for name, values in log_probs.items()}
        self.add(documents.langs, documents.length, documents.bytes, sums)

    def add(self, langs: Sequence[str], tokens: IntArray, sizes: IntArray, log_probs: Mapping[str, FloatArray]) -> None:
        """Add documents: language, tokens and bytes of each, and system -> (documents,) nats."""
        self._systems = self._systems or tuple(log_probs)
        assert set(self._systems) == set(log_probs), f"{', '.join(log_probs)} after {', '.join(self._systems)}"
        columns, names = np.stack([log_probs[name] for name in self._systems], axis=1), np.asarray(langs)
        for lang in dict.fromkeys(langs):
            mine = names == lang
            units = self._languages.setdefault(lang, _Units(len(self._systems)))
            units.add(columns[mine], np.stack([tokens[mine], sizes[mine]], axis=1), self._most)

    def by_system(self) -> dict[str, dict[str, LanguageTotals]]:
        """System -> language, sorted -> totals."""
        return {
            name: {lang: self._languages[lang].totals(place) for lang in sorted(self._languages)}
            for place, name in enumerate(self._systems)
        }


class _Units:
    """Of one language. nats: (n, systems); counts: (n, 2) tokens and bytes."""

    def __init__(self, systems: int) -> None:
        self.nats, self.counts = np.zeros((0, systems)), np.zeros((0, 2), dtype=np.int64)
        self.documents, self.size = 0, 1

    def add(self, nats: FloatArray, counts: IntArray, most: int) -> None:
        """Add documents, as many at a time as fill what is left before neighbours must be merged."""
        while len(nats):
            room = self.size * most - self.documents
            if room:
                self._append(nats[:room], counts[:room])
            nats, counts = nats[room:], counts[room:]
            if len(nats):
                # Merging pairs keeps each document in unit i // size, as if size had been this from the start.
                begins = np.arange(0, len(self.nats), 2)
                self.nats, self.counts = np.add.reduceat(self.nats, begins), np.add.reduceat(self.counts, begins)
                self.size *= 2

    def _append(self, nats: FloatArray, counts: IntArray) -> None:
        # (documents,) unit of each; a unit begins where the number changes.
        numbers = (self.documents + np.arange(len(nats))) // self.size
        begins = np.flatnonzero(np.diff(numbers, prepend=-1))
        nats, counts = np.add.reduceat(nats, begins), np.add.reduceat(counts, begins)
        self.documents += len(numbers)
        if numbers[0] < len(self.nats):  # the last unit was not full
            self.nats[-1] += nats[0]
            self.counts[-1] += counts[0]
            nats, counts = nats[1:], counts[1:]
        self.nats, self.counts = np.concatenate([self.nats, nats]), np.concatenate([self.counts, counts])

    def totals(self, place: int) -> LanguageTotals:
        """Under the system in this column."""
        nats = self.nats[:, place].copy()
        # copy(): the next documents may be added to the last unit in place.
        return LanguageTotals(nats, self.counts[:, 0].copy(), self.counts[:, 1].copy(), self.documents)
