"""One expert for each language: the upper end of k."""

from __future__ import annotations

from dataclasses import dataclass

from app.allocation.base import Evidence, OfLanguages, expert_names
from app.allocation.by_language import LanguageAllocator
from app.core.errors import AllocationError


@dataclass(frozen=True)
class OnePerLanguageStrategy(OfLanguages):
    """Every language has its own expert, in the order of the languages."""

    @property
    def needs(self) -> frozenset[str]:
        """The languages."""
        return frozenset({"languages"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> LanguageAllocator:
        """``seed`` changes nothing. Raises AllocationError unless k is the number of languages."""
        count = len(evidence.languages)
        if k != count:
            raise AllocationError(
                f"allocation.k is {k} but one_per_language makes one expert for each of the {count} "
                f"languages ({', '.join(evidence.languages)}); set allocation.k={count}"
            )
        return LanguageAllocator(
            experts=expert_names(k),
            clusters=tuple((lang,) for lang in evidence.languages),
            fallback=self.settings.fallback,
        )
