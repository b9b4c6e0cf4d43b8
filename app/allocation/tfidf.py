"""TF-IDF allocation: documents of similar terms share an expert (TF-IDF, truncated SVD, groups of like documents).

Term weights and SVD are one linear map, so a context's vector is a sum over its terms and grows with the
text. The distances that weigh the experts for a context are those by which documents are assigned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sparse
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from app.allocation.balance import balanced_kmeans, squared_distances
from app.allocation.base import AllocationSettings, Allocator, Evidence, Unit, expert_names
from app.allocation.extended import ExtendedAllocator
from app.allocation.groups import Centres, grouped_centres, require_different
from app.allocation.prefixes import PiecesOf
from app.allocation.terms import (
    Analyzer,
    CharAnalyzer,
    PaperAnalyzer,
    TokenAnalyzer,
    fit_paper_analyzer,
    fit_token_analyzer,
    restore_analyzer,
)
from app.core.errors import AllocationError
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject
from app.core.seeding import derive_seed

# Bounds the arrays of (rows, dimensions), whatever the size of a part.
_ROWS_AT_ONCE = 512
# scikit-learn hands the seed to numpy's older generator, which takes only smaller ones.
_SVD_SEEDS = 2**32
_POWER_ITERATIONS = 1
_BEGINNING_TOKENS = 32
_BEGINNING_CHARACTERS = 128


class TfidfContext:
    """Distances of a growing text to the centres; no preference until the first known term."""

    def __init__(self, allocator: TfidfAllocator) -> None:
        self._allocator = allocator
        self._stream = allocator.analyzer.stream()
        self._sum = np.zeros(allocator.projection.shape[1])

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """Append text; the cost is that of the new text."""
        self._sum += self._projected(self._stream.push(text, tokens))

    def distances(self) -> FloatArray:
        """(k,) Euclidean distances, at least 0; all 1 while no known term has been seen."""
        # Not added for good: an unfinished word may become another one.
        total = self._sum + self._projected(self._stream.pending())
        row: FloatArray = self._allocator.context_distances(total[None, :])[0]
        return row

    def _projected(self, terms: IntArray) -> FloatArray | float:
        if not len(terms):
            return 0.0
        total: FloatArray = self._allocator.projection.take(terms, axis=0).sum(axis=0)
        return total


@dataclass(frozen=True)
class TfidfAllocator:
    """projection: (terms, d) inverse document frequency times SVD; centres: (c, d); owners: (c,) expert of each centre.

    An expert is as far from a document as the nearest of its centres; a document goes to the nearest expert.
    """

    kind: ClassVar[str] = "tfidf"
    experts: tuple[str, ...]
    analyzer: Analyzer
    projection: FloatArray
    centres: FloatArray
    owners: IntArray

    @property
    def unit(self) -> Unit:
        """Always ``document``."""
        return "document"

    def distances(self, batch: DocumentBatch) -> FloatArray:
        """(n, k) distance of each whole document to each expert, as a context gives it."""
        found = np.empty((len(batch), len(self.experts)))
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            stop = start + _ROWS_AT_ONCE
            found[start:stop] = self.context_distances(self.analyzer.counts(batch.rows(start, stop)) @ self.projection)
        return found

    def assign(self, batch: DocumentBatch) -> IntArray:
        """(n,) nearest expert, row by row; the first one for a document without known terms."""
        nearest: IntArray = self.distances(batch).argmin(axis=1)
        return nearest

    def context(self, lang: str | None) -> TfidfContext:
        """An empty context; the language is not looked at."""
        return TfidfContext(self)

    def context_distances(self, sums: FloatArray) -> FloatArray:
        """(n, k) distances of contexts given as sums (n, d) of their terms' projections; ones where the sum
        is zero.
        """
        squared = squared_distances(_unit_rows(sums), self.centres)
        by_expert = [squared[:, self.owners == expert].min(axis=1) for expert in range(len(self.experts))]
        distances: FloatArray = np.sqrt(np.stack(by_expert, axis=1))
        distances[~sums.any(axis=1)] = 1.0
        return distances

    def prefix_distances(self, lang: str | None, tokens: IntArray, pieces_of: PiecesOf) -> FloatArray | None:
        """(len(tokens) + 1, k): row t is the context of ``tokens[:t]``; None where only a loop can tell."""
        if isinstance(self.analyzer, TokenAnalyzer):
            places = self.analyzer.places(tokens)
            ends = np.flatnonzero(places >= 0)
            terms = places[ends]
        elif isinstance(self.analyzer, CharAnalyzer):
            terms, ends = self.analyzer.terms_by_piece(pieces_of(tokens.tolist()))
        else:
            # A word of the paper's analyzer is known only when the next piece ends it.
            return None
        shape = (len(tokens), self.analyzer.size)
        # (tokens, terms): terms that end with each token. One product and one running sum are all prefixes at once.
        counts = sparse.csr_matrix((np.ones(len(terms)), (ends, terms)), shape=shape)
        sums = np.zeros((len(tokens) + 1, self.projection.shape[1]))
        np.cumsum(counts @ self.projection, axis=0, out=sums[1:])
        return self.context_distances(sums)

    def with_expert(self, name: str, languages: Sequence[str], parent: str) -> Allocator:
        """One more expert that owns new languages. Raises AllocationError."""
        return ExtendedAllocator.extend(self, name, languages, parent)

    def to_arrays(self) -> dict[str, Array]:
        """``projection`` (float32, exact), ``centres``, ``owners``."""
        return {
            "projection": self.projection.astype(np.float32),
            "centres": self.centres,
            "owners": self.owners,
        }

    def describe(self) -> JsonObject:
        """Experts and analyzer."""
        return {"kind": self.kind, "experts": list(self.experts), "analyzer": self.analyzer.describe()}


@dataclass(frozen=True)
class TfidfStrategy:
    """Documents to experts by their terms."""

    settings: AllocationSettings

    @property
    def unit(self) -> Unit:
        """Always ``document``."""
        return "document"

    @property
    def needs(self) -> frozenset[str]:
        """A sample of documents: their tokens, or their texts for an analyzer that reads text."""
        return frozenset({"tokens" if self.settings.analyzer == TokenAnalyzer.kind else "documents"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> TfidfAllocator:
        """Fit on the sample. Raises AllocationError if it has too few different documents or no terms."""
        sample = evidence.documents
        assert sample is not None
        if not 1 <= k <= len(sample):
            raise AllocationError(
                f"allocation.k is {k} but the sample has {len(sample)} documents; choose k from 1 to that number"
            )
        analyzer = _fit_analyzer(self.settings, sample)
        counts = analyzer.counts(sample)
        if not counts.nnz:
            raise AllocationError(_no_terms(self.settings.analyzer, len(sample)))
        projection = _fit_projection(counts, self.settings.components, derive_seed(seed, "svd"))
        rows = _unit_rows(counts @ projection)
        # Documents without a known term are all at zero and would be a cluster of nothing.
        known = rows.any(axis=1)
        beginnings = _unit_rows(analyzer.counts(beginnings_of(sample)) @ projection)
        cut = self._centres(rows[known], beginnings[known], k, derive_seed(seed, "clusters"))
        return TfidfAllocator(expert_names(k), analyzer, projection, cut.centres, cut.owners)

    def _centres(self, rows: FloatArray, beginnings: FloatArray, k: int, seed: int) -> Centres:
        if self.settings.assignment == "balanced":
            return grouped_centres(rows, beginnings, k, seed)
        # Of two equal centres the second would own no document.
        require_different(rows, k)
        # As published: fitted on equal parts, then each document goes to its nearest centre, so parts may be uneven.
        return Centres(balanced_kmeans(rows, k, seed), np.arange(k, dtype=np.int64))


def beginnings_of(batch: DocumentBatch) -> DocumentBatch:
    """The first 32 tokens and 128 characters of each document, at most half of it: what the router sees early on."""
    # A short document as a whole would always find its own group and show nothing.
    return DocumentBatch(
        batch.doc_ids,
        batch.langs,
        tuple(text[: min(_BEGINNING_CHARACTERS, -(-len(text) // 2))] for text in batch.texts),
        tuple(tokens[: min(_BEGINNING_TOKENS, -(-len(tokens) // 2))] for tokens in batch.tokens),
    )


def restore_tfidf_allocator(described: JsonObject, arrays: Mapping[str, Array]) -> TfidfAllocator:
    """The inverse of ``describe`` and ``to_arrays``."""
    experts, analyzer = described["experts"], described["analyzer"]
    assert isinstance(experts, list) and isinstance(analyzer, dict)
    return TfidfAllocator(
        tuple(str(name) for name in experts),
        restore_analyzer(analyzer),
        arrays["projection"].astype(np.float64),
        arrays["centres"],
        arrays["owners"],
    )


def _fit_analyzer(settings: AllocationSettings, sample: DocumentBatch) -> Analyzer:
    if settings.analyzer == TokenAnalyzer.kind:
        return fit_token_analyzer(sample.tokens, settings.max_features)
    if settings.analyzer == CharAnalyzer.kind:
        return CharAnalyzer(settings.max_features)
    return fit_paper_analyzer(sample.texts, settings.max_features)


def _no_terms(analyzer: str, documents: int) -> str:
    cure = " and set allocation.analyzer=tokens, which needs no words" if analyzer == PaperAnalyzer.kind else ""
    return f"allocation.analyzer={analyzer} finds no term in {documents} documents; check that they hold text{cure}"


def _fit_projection(counts: sparse.csr_matrix, components: int, seed: int) -> FloatArray:
    """(terms, d) in float32 precision: smoothed inverse document frequency times the SVD's components.

    The SVD takes one power iteration in float32; more of either change neither sizes nor agreement with languages.
    """
    documents, terms = counts.shape
    rarity = np.log((1.0 + documents) / (1.0 + np.bincount(counts.indices, minlength=terms))) + 1.0
    # astype copies: the caller needs the plain counts.
    weighted = counts.astype(np.float32)
    weighted.data *= rarity.astype(np.float32)[weighted.indices]
    size = max(1, min(components, documents - 1, terms - 1))
    # Long documents must not lead the SVD; in the map lengths play no part, for sums are normalised after it.
    unit = normalize(weighted, copy=False)
    _, _, directions = randomized_svd(unit, size, n_iter=_POWER_ITERATIONS, random_state=seed % _SVD_SEEDS)
    # Rounded before it is used, so that half the bytes on disk decide exactly as what was fitted.
    rounded = np.ascontiguousarray((directions * rarity).T, dtype=np.float32)
    projection: FloatArray = rounded.astype(np.float64)
    return projection


def _unit_rows(sums: FloatArray) -> FloatArray:
    lengths: FloatArray = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
