"""A document-level allocator with one more expert that owns whole languages (HMR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from app.allocation.base import Allocator, ContextState, Unit, check_new_expert
from app.allocation.by_language import OneExpert
from app.core.errors import AllocationError
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject


@dataclass(frozen=True)
class BesideParent:
    """A context of the base allocator, to which the added expert is as near as the one that it branched from.

    parent: that one's index; None where the language is told and is not the added expert's: then it is never used.
    """

    base: ContextState
    parent: int | None

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """Append text."""
        self.base.extend(text, tokens)

    def distances(self) -> FloatArray:
        """(k,): the base's distances, then the parent's again or +inf."""
        distances = self.base.distances()
        return np.append(distances, np.inf if self.parent is None else distances[self.parent])


@dataclass(frozen=True)
class ExtendedAllocator:
    """The last expert owns ``languages``; text in any other language is cut as ``base`` does."""

    kind: ClassVar[str] = "extended"
    base: Allocator
    name: str
    languages: tuple[str, ...]
    parent: str

    @classmethod
    def extend(cls, base: Allocator, name: str, languages: Sequence[str], parent: str) -> ExtendedAllocator:
        """Raises AllocationError if the name is taken, no language is given, or the parent is not there."""
        check_new_expert(base.experts, name, languages)
        if parent not in base.experts:
            raise AllocationError(f"{name!r} branches from {parent!r}, which is none of {', '.join(base.experts)}")
        return cls(base, name, tuple(dict.fromkeys(languages)), parent)

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
        # The base is asked about all rows, also those that it does not decide: a cut of documents answers for any.
        return np.where(added, len(self.base.experts), self.base.assign(batch)).astype(np.int64)

    def context(self, lang: str | None) -> ContextState:
        """The added expert for its languages and never for others that are named; where none is named it is as near as
        its parent, so that it can be found.
        """
        if lang in self.languages:
            return OneExpert(len(self.base.experts), len(self.experts))
        parent = self.base.experts.index(self.parent) if lang is None else None
        return BesideParent(self.base.context(lang), parent)

    def with_expert(self, name: str, languages: Sequence[str], parent: str) -> ExtendedAllocator:
        """One more expert on top of this one. Raises AllocationError."""
        return ExtendedAllocator.extend(self, name, languages, parent)

    def to_arrays(self) -> dict[str, Array]:
        """The base's."""
        return self.base.to_arrays()

    def describe(self) -> JsonObject:
        """The added expert and, nested, the base."""
        return {
            "kind": self.kind,
            "name": self.name,
            "languages": list(self.languages),
            "parent": self.parent,
            "base": self.base.describe(),
        }
