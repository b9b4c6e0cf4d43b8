"""A document-level allocator with one more expert that owns whole languages (HMR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from app.allocation.base import Allocator, ContextState, Unit, check_new_expert
from app.allocation.by_language import OneExpert
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject


@dataclass(frozen=True)
class WithoutLast:
    """A context of the base allocator, to which the added expert is infinitely far."""

    base: ContextState

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """Append text."""
        self.base.extend(text, tokens)

    def distances(self) -> FloatArray:
        """(k,): the base's distances, then +inf."""
        return np.append(self.base.distances(), np.inf)


@dataclass(frozen=True)
class ExtendedAllocator:
    """The last expert owns ``languages``; text in any other language is cut as ``base`` does."""

    kind: ClassVar[str] = "extended"
    base: Allocator
    name: str
    languages: tuple[str, ...]

    @classmethod
    def extend(cls, base: Allocator, name: str, languages: Sequence[str]) -> ExtendedAllocator:
        """Raises AllocationError if the name is taken or no language is given."""
        check_new_expert(base.experts, name, languages)
        return cls(base, name, tuple(dict.fromkeys(languages)))

    @property
    def unit(self) -> Unit:
        """The base's."""
        return self.base.unit

    @property
    def experts(self) -> tuple[str, ...]:
        """The base's and the added one."""
        return (*self.base.experts, self.name)

    def assign(self, batch: DocumentBatch) -> IntArray:
        """(n,) expert index: by language for the added expert, else the base's."""
        added = np.array([lang in self.languages for lang in batch.langs], dtype=bool)
        return np.where(added, len(self.base.experts), self.base.assign(batch)).astype(np.int64)

    def context(self, lang: str | None) -> ContextState:
        """The added expert for its languages, else the base's context without it."""
        if lang in self.languages:
            return OneExpert(len(self.base.experts), len(self.experts))
        return WithoutLast(self.base.context(lang))

    def with_expert(self, name: str, languages: Sequence[str]) -> ExtendedAllocator:
        """One more expert on top of this one. Raises AllocationError."""
        return ExtendedAllocator.extend(self, name, languages)

    def to_arrays(self) -> dict[str, Array]:
        """The base's."""
        return self.base.to_arrays()

    def describe(self) -> JsonObject:
        """The added expert and, nested, the base."""
        return {
            "kind": self.kind,
            "name": self.name,
            "languages": list(self.languages),
            "base": self.base.describe(),
        }
