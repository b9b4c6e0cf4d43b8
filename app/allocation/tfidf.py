"""TF-IDF allocation: documents of similar terms share an expert (TF-IDF, truncated SVD, balanced k-means).

Term weights and SVD are one linear map, so a context's vector is a sum over its terms and grows with the
text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from app.allocation.balance import balanced_kmeans, squared_distances
from app.allocation.base import AllocationSettings, Allocator, DocumentSample, Evidence, Unit, expert_names
from app.allocation.extended import ExtendedAllocator
from app.allocation.terms import Analyzer, CharAnalyzer, fit_paper_analyzer, restore_analyzer
from app.core.errors import AllocationError
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject
from app.core.seeding import derive_seed

_ROWS_AT_ONCE = 512
_SVD_SEEDS = 2**32
_POWER_ITERATIONS = 1


class TfidfContext:
    """Distances of a growing text to the centres; no preference until the first known term."""

    def __init__(self, allocator: TfidfAllocator) -> None:
        self._allocator = allocator
        self._stream = allocator.analyzer.stream()
        self._sum = np.zeros(allocator.projection.shape[1])

    def extend(self, text: str) -> None:
        """Append text; the cost is that of the new text."""
        self._sum += self._projected(self._stream.push(text))

    def distances(self) -> FloatArray:
        """(k,) Euclidean distances, at least 0; all 1 while no known term has been seen."""
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
    """projection: (terms, d) inverse document frequency times SVD; centres: (k, d); prices: (k,) for squared
    distances.

    A document goes to argmin(distance^2 + price); prices are zero for ``nearest`` assignment.
    """

    kind: ClassVar[str] = "tfidf"
    experts: tuple[str, ...]
    analyzer: Analyzer
    projection: FloatArray
    centres: FloatArray
    prices: FloatArray

    @property
    def unit(self) -> Unit:
        """Always ``document``."""
        return "document"

    def coordinates(self, texts: Sequence[str]) -> FloatArray:
        """(n, d) unit vectors, or zero for a text without known terms; row by row."""
        return _unit_rows(count_terms(self.analyzer, texts) @ self.projection)

    def distances(self, texts: Sequence[str]) -> FloatArray:
        """(n, k) Euclidean distances of whole texts to the centres."""
        distances: FloatArray = np.sqrt(squared_distances(self.coordinates(texts), self.centres))
        return distances

    def assign(self, batch: DocumentBatch) -> IntArray:
        """(n,) expert index, row by row."""
        found = np.empty(len(batch), dtype=np.int64)
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            texts = batch.texts[start : start + _ROWS_AT_ONCE]
            costs = squared_distances(self.coordinates(texts), self.centres) + self.prices
            found[start : start + len(texts)] = costs.argmin(axis=1)
        return found

    def context(self, lang: str | None) -> TfidfContext:
        """An empty context; the language is not looked at."""
        return TfidfContext(self)

    def context_distances(self, sums: FloatArray) -> FloatArray:
        """(n, k) distances of contexts given as sums (n, d) of their terms' projections; ones where the sum
        is zero.
        """
        distances: FloatArray = np.sqrt(squared_distances(_unit_rows(sums), self.centres))
        distances[~sums.any(axis=1)] = 1.0
        return distances

    def prefix_distances(self, lang: str | None, pieces: Sequence[str]) -> FloatArray | None:
        """(len(pieces) + 1, k): row t is the context of ``pieces[:t]``; None where only a loop can tell."""
        if not isinstance(self.analyzer, CharAnalyzer):
            return None
        terms, ends = self.analyzer.terms_by_piece(pieces)
        shape = (len(pieces), self.analyzer.size)
        counts = sparse.csr_matrix((np.ones(len(terms)), (ends, terms)), shape=shape)
        sums = np.zeros((len(pieces) + 1, self.projection.shape[1]))
        np.cumsum(counts @ self.projection, axis=0, out=sums[1:])
        return self.context_distances(sums)

    def with_expert(self, name: str, languages: Sequence[str]) -> Allocator:
        """One more expert that owns new languages. Raises AllocationError."""
        return ExtendedAllocator.extend(self, name, languages)

    def to_arrays(self) -> dict[str, Array]:
        """``projection`` (float32, exact), ``centres``, ``prices``."""
        return {
            "projection": self.projection.astype(np.float32),
            "centres": self.centres,
            "prices": self.prices,
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
        """A sample of documents."""
        return frozenset({"documents"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> TfidfAllocator:
        """Fit on the sample. Raises AllocationError if it has too few documents or no terms."""
        sample = evidence.documents
        assert sample is not None
        if not 1 <= k <= len(sample.texts):
            raise AllocationError(
                f"allocation.k is {k} but the sample has {len(sample.texts)} documents; choose k from 1 to that number"
            )
        analyzer = _fit_analyzer(self.settings, sample)
        counts = count_terms(analyzer, sample.texts)
        projection = _fit_projection(counts, self.settings.components, derive_seed(seed, "svd"))
        rows = _unit_rows(counts @ projection)
        clusters = balanced_kmeans(rows, k, derive_seed(seed, "clusters"))
        prices = clusters.prices if self.settings.assignment == "balanced" else np.zeros(k)
        return TfidfAllocator(expert_names(k), analyzer, projection, clusters.centres, prices)


def count_terms(analyzer: Analyzer, texts: Sequence[str]) -> sparse.csr_matrix:
    """(n, terms) counts; entries of a row are sorted, so that sums over them do not depend on the batch."""
    narrow = np.min_scalar_type(max(0, analyzer.size - 1))  # sorted several times as fast as int64
    found = [np.unique(analyzer.terms(text).astype(narrow), return_counts=True) for text in texts]
    bounds = np.cumsum([0, *(len(terms) for terms, _ in found)])
    columns = np.concatenate([np.empty(0, dtype=np.int64), *(terms for terms, _ in found)])
    counts = np.concatenate([np.empty(0), *(counts.astype(np.float64) for _, counts in found)])
    return sparse.csr_matrix((counts, columns, bounds), shape=(len(texts), analyzer.size))


def restore_tfidf_allocator(described: JsonObject, arrays: Mapping[str, Array]) -> TfidfAllocator:
    """The inverse of ``describe`` and ``to_arrays``."""
    experts, analyzer = described["experts"], described["analyzer"]
    assert isinstance(experts, list) and isinstance(analyzer, dict)
    return TfidfAllocator(
        experts=tuple(str(name) for name in experts),
        analyzer=restore_analyzer(analyzer),
        projection=arrays["projection"].astype(np.float64),
        centres=arrays["centres"],
        prices=arrays["prices"],
    )


def _fit_analyzer(settings: AllocationSettings, sample: DocumentSample) -> Analyzer:
    if settings.analyzer == "char":
        return CharAnalyzer(settings.max_features)
    analyzer = fit_paper_analyzer(sample.texts, settings.max_features)
    if not analyzer.size:
        raise AllocationError("the paper's analyzer finds no word in the sample; set allocation.analyzer=char")
    return analyzer


def _fit_projection(counts: sparse.csr_matrix, components: int, seed: int) -> FloatArray:
    """(terms, d) in float32 precision: smoothed inverse document frequency times the SVD's components.

    The SVD takes one power iteration in float32; more of either change neither sizes nor agreement with languages.
    """
    documents, terms = counts.shape
    rarity = np.log((1.0 + documents) / (1.0 + np.bincount(counts.indices, minlength=terms))) + 1.0
    weighted = counts.astype(np.float32)
    weighted.data *= rarity.astype(np.float32)[weighted.indices]
    size = max(1, min(components, documents - 1, terms - 1))
    svd = TruncatedSVD(size, n_iter=_POWER_ITERATIONS, random_state=seed % _SVD_SEEDS)
    svd.fit(normalize(weighted, copy=False))
    rounded = np.ascontiguousarray((svd.components_ * rarity).T, dtype=np.float32)
    projection: FloatArray = rounded.astype(np.float64)
    return projection


def _unit_rows(sums: FloatArray) -> FloatArray:
    lengths: FloatArray = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
