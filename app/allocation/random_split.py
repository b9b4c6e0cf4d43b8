"""Random allocation: documents to experts by a hash of their identity; the control for other groupings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from app.allocation.base import AllocationSettings, Allocator, Evidence, Unit, expert_names
from app.allocation.extended import ExtendedAllocator
from app.core.errors import AllocationError
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject

_HASH_BITS = 64


@dataclass(frozen=True)
class NoPreference:
    """A context that is as near to every expert as to any other."""

    k: int

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """The text changes nothing."""

    def distances(self) -> FloatArray:
        """(k,) ones."""
        return np.ones(self.k)


@dataclass(frozen=True)
class RandomAllocator:
    """Expert of a document = seeded hash of its ``doc_id``, uniform over the experts."""

    kind: ClassVar[str] = "random"
    experts: tuple[str, ...]
    seed: int

    @property
    def unit(self) -> Unit:
        """Always ``document``."""
        return "document"

    def assign(self, batch: DocumentBatch) -> IntArray:
        """(n,) expert index; depends on the seed and the document's identity alone."""
        return np.array([self._expert(doc_id) for doc_id in batch.doc_ids], dtype=np.int64)

    def context(self, lang: str | None) -> NoPreference:
        """Every expert is equally near."""
        return NoPreference(len(self.experts))

    def with_expert(self, name: str, languages: Sequence[str], parent: str) -> Allocator:
        """One more expert that owns new languages. Raises AllocationError."""
        return ExtendedAllocator.extend(self, name, languages, parent)

    def to_arrays(self) -> dict[str, Array]:
        """Nothing."""
        return {}

    def describe(self) -> JsonObject:
        """Experts and seed."""
        return {"kind": self.kind, "experts": list(self.experts), "seed": self.seed}

    def _expert(self, doc_id: str) -> int:
        # Not hash(): Python salts it anew in each process. The separator keeps 1, "23" apart from 12, "3".
        digest = hashlib.sha256(f"{self.seed}\x1f{doc_id}".encode()).digest()
        # Scaled instead of taken modulo k: no expert is favoured, and k may be any number.
        return int.from_bytes(digest[: _HASH_BITS // 8], "big") * len(self.experts) >> _HASH_BITS


@dataclass(frozen=True)
class RandomStrategy:
    """Documents to experts by chance."""

    settings: AllocationSettings

    @property
    def unit(self) -> Unit:
        """Always ``document``."""
        return "document"

    @property
    def needs(self) -> frozenset[str]:
        """Documents, of which it sees the identity: their tokens are read faster than their text."""
        return frozenset({"tokens"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> RandomAllocator:
        """Raises AllocationError if k < 1."""
        if k < 1:
            raise AllocationError(f"allocation.k is {k}; choose at least 1")
        return RandomAllocator(expert_names(k), seed)


def restore_random_allocator(described: JsonObject, _arrays: Mapping[str, Array]) -> RandomAllocator:
    """The inverse of ``describe``."""
    experts, seed = described["experts"], described["seed"]
    assert isinstance(experts, list) and isinstance(seed, int)
    return RandomAllocator(tuple(str(name) for name in experts), seed)
