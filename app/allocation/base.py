"""What an allocation is: evidence in, an allocator out; one object cuts the corpus and weighs the experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from app.core.errors import AllocationError
from app.core.records import Array, DocumentBatch, FloatArray, IntArray, JsonObject

Unit: TypeAlias = Literal["language", "document"]
Column: TypeAlias = Literal["texts", "tokens"]
Fallback: TypeAlias = Literal["error", "family", "nearest_script"]


@dataclass(frozen=True)
class AllocationSettings:
    """How to cut; the meaning of each field is that of the configuration's ``allocation`` section."""

    strategy: str = "typological"
    linkage: Literal["published", "average"] = "published"
    min_features: int = 30
    fallback: Fallback = "error"
    analyzer: Literal["tokens", "char", "paper"] = "tokens"
    max_features: int = 65_536
    components: int = 100
    assignment: Literal["balanced", "nearest"] = "balanced"


@dataclass(frozen=True)
class Typology:
    """Syntax features of languages. features: (n, f), NaN where unknown."""

    languages: tuple[str, ...]
    features: FloatArray


@dataclass(frozen=True)
class Evidence:
    """Everything a strategy may look at; it says in ``needs`` what must be there.

    documents: a sample, with the columns that are needed.
    """

    documents: DocumentBatch | None
    typology: Typology | None
    probes: Mapping[str, FloatArray]
    languages: tuple[str, ...] = ()


class ContextState(Protocol):
    """The context of one request, grown piece by piece."""

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        """Append text and the token ids that it is made of; costs in proportion to the new text only."""

    def distances(self) -> FloatArray:
        """(k,) distance of the context to each expert, not squared; +inf: never this expert; all 1: no
        preference.
        """


class Allocator(Protocol):
    """Immutable: which expert owns a document, and how near a context is to each expert."""

    @property
    def unit(self) -> Unit:
        """Whether whole languages or single documents are given to experts."""

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts in order."""

    def assign(self, batch: DocumentBatch) -> IntArray:
        """(n,) expert index of each document, row by row: independent of batching and retries."""

    def context(self, lang: str | None) -> ContextState:
        """Start of a request; ``lang`` is the caller's statement of the language."""

    def with_expert(self, name: str, languages: Sequence[str], parent: str) -> Allocator:
        """A new allocator with one more expert that owns new languages and branched from ``parent``; nothing else
        changes (HMR).
        """

    def to_arrays(self) -> dict[str, Array]:
        """The numeric part, none of dtype object."""

    def describe(self) -> JsonObject:
        """The rest: ``kind`` and what a reader of that kind needs besides the arrays."""


class Strategy(Protocol):
    """A way to cut the corpus."""

    @property
    def unit(self) -> Unit:
        """The unit of the allocators that it fits."""

    @property
    def needs(self) -> frozenset[str]:
        """Evidence that must be present, each named after what it is read from: "documents" (texts of the shards),
        "tokens" (ids of the same documents), "typology", "languages", "probe:<name>".
        """

    def fit(self, evidence: Evidence, k: int, seed: int) -> Allocator:
        """An allocator of k experts, a pure function of the arguments. Raises AllocationError."""


@dataclass(frozen=True)
class OfLanguages:
    """What strategies share that give whole languages to experts."""

    settings: AllocationSettings

    @property
    def unit(self) -> Unit:
        """Always ``language``."""
        return "language"


def expert_names(k: int) -> tuple[str, ...]:
    """``expert-00``, ``expert-01``, ... in cluster order."""
    return tuple(f"expert-{index:02d}" for index in range(k))


def check_new_expert(experts: Sequence[str], name: str, languages: Sequence[str]) -> None:
    """Raises AllocationError if the name is taken or no language is given."""
    if name in experts:
        raise AllocationError(f"expert {name!r} exists already; choose another name than {', '.join(experts)}")
    if not languages:
        raise AllocationError(f"new expert {name!r} has no language; name at least one")
