"""An allocator that gives whole languages to experts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from app.allocation.base import Fallback, Unit, check_new_expert
from app.allocation.uriel import donor_ranking, stand_in
from app.core.errors import AllocationError, CorpusError
from app.core.languages import normalise
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject
from app.core.suggest import nearest

_NAMED_IN_ERRORS = 3


@dataclass(frozen=True)
class OneExpert:
    """A context that belongs to one expert whatever its text says."""

    expert: int
    k: int

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """The text changes nothing."""

    def distances(self) -> FloatArray:
        """(k,): 0 for the expert, +inf for the others."""
        row = np.full(self.k, np.inf)
        row[self.expert] = 0.0
        return row


@dataclass(frozen=True)
class LanguageAllocator:
    """Expert i owns the languages of ``clusters[i]``; ``fallback``: who answers for any other language."""

    kind: ClassVar[str] = "language"
    experts: tuple[str, ...]
    clusters: tuple[tuple[str, ...], ...]
    fallback: Fallback = "error"

    @property
    def unit(self) -> Unit:
        """Always ``language``."""
        return "language"

    def languages_by_expert(self) -> list[list[str]]:
        """Languages of each expert, in expert order."""
        return [list(cluster) for cluster in self.clusters]

    def expert_of(self, lang: str) -> int:
        """Index of the expert that owns a language, in any usual spelling.

        Raises AllocationError naming the nearest known languages unless the fallback finds a stand-in.
        """
        if lang in self._owners:
            return self._owners[lang]
        try:
            code = normalise(lang)
        except CorpusError as error:
            raise AllocationError(f"{error}; the experts own {', '.join(sorted(self._owners))}") from error
        owner = code if code in self._owners else stand_in(code, self._owners, self.fallback)
        if owner is None:
            raise AllocationError(self._unknown(code))
        return self._owners[owner]

    def assign(self, batch: DocumentBatch) -> IntArray:
        """(n,) expert index by language. Raises AllocationError for a language that no expert owns."""
        # Once for each language: looking for a stand-in compares it with all that are owned.
        experts = {lang: self.expert_of(lang) for lang in set(batch.langs)}
        return np.array([experts[lang] for lang in batch.langs], dtype=np.int64)

    def context(self, lang: str | None) -> OneExpert:
        """The language's expert for the whole request. Raises AllocationError without a language."""
        if lang is None:
            raise AllocationError(
                f"experts own languages, so a request must name one of {', '.join(sorted(self._owners))}"
            )
        return OneExpert(self.expert_of(lang), len(self.experts))

    def with_expert(self, name: str, languages: Sequence[str], parent: str) -> LanguageAllocator:
        """One more expert for languages that none owns yet. Raises AllocationError."""
        check_new_expert(self.experts, name, languages)
        held = [lang for lang in languages if lang in self._owners]
        if held:
            raise AllocationError(
                f"language {held[0]!r} belongs to {self.experts[self._owners[held[0]]]} already; "
                f"give {name!r} only languages that no expert owns"
            )
        return replace(self, experts=(*self.experts, name), clusters=(*self.clusters, tuple(dict.fromkeys(languages))))

    def to_arrays(self) -> dict[str, Array]:
        """``expert_of_language``: (languages,) expert index, in the order of ``describe()["languages"]``."""
        return {"expert_of_language": np.array(list(self._owners.values()), dtype=np.int64)}

    def describe(self) -> JsonObject:
        """Names: experts, languages in the order of the array, fallback."""
        return {
            "kind": self.kind,
            "experts": list(self.experts),
            "languages": list(self._owners),
            "fallback": self.fallback,
        }

    # It writes to __dict__ directly, which a frozen dataclass allows.
    @functools.cached_property
    def _owners(self) -> Mapping[str, int]:
        return {lang: index for index, cluster in enumerate(self.clusters) for lang in cluster}

    def _unknown(self, lang: str) -> str:
        ranked = [code for code, _ in donor_ranking(lang, list(self._owners))]
        close = (ranked or nearest(lang, self._owners) or sorted(self._owners))[:_NAMED_IN_ERRORS]
        return (
            f"language {lang!r} belongs to no expert; the nearest known: {', '.join(close)}. "
            "Add an expert for it, or set allocation.fallback to family or nearest_script"
        )


def restore_language_allocator(described: JsonObject, arrays: Mapping[str, Array]) -> LanguageAllocator:
    """The inverse of ``describe`` and ``to_arrays``."""
    experts, languages, fallback = described["experts"], described["languages"], described["fallback"]
    assert isinstance(experts, list) and isinstance(languages, list)
    assert fallback in ("error", "family", "nearest_script")
    clusters: list[list[str]] = [[] for _ in experts]
    for lang, expert in zip(languages, arrays["expert_of_language"].tolist(), strict=True):
        clusters[expert].append(str(lang))
    return LanguageAllocator(
        experts=tuple(str(name) for name in experts),
        clusters=tuple(tuple(cluster) for cluster in clusters),
        fallback=fallback,  # type: ignore[arg-type]  # narrowed by the assertion above
    )
