"""Distant languages share an expert: the opposite of the typological cut, to test whether likeness matters."""

from __future__ import annotations

from dataclasses import dataclass

from app.allocation.base import Evidence, OfLanguages
from app.allocation.by_language import LanguageAllocator
from app.allocation.distances import informative, typological_distances
from app.allocation.equal_groups import equal_groups, exchanged, grouped_allocator, require_k


@dataclass(frozen=True)
class AntiTypologicalStrategy(OfLanguages):
    """Groups of equal size whose members are as far from one another as exchanging pairs can make them."""

    @property
    def needs(self) -> frozenset[str]:
        """Syntax features of the languages."""
        return frozenset({"typology"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> LanguageAllocator:
        """``seed`` changes nothing. Raises AllocationError if k does not fit the languages."""
        assert evidence.typology is not None
        names = evidence.typology.languages
        require_k(k, names)
        # The same search with the sign turned: what it takes for close is far apart.
        nearness = -typological_distances(informative(evidence.typology.features))
        groups = exchanged(nearness, equal_groups(nearness, names, k))
        return grouped_allocator(groups, names, k, self.settings.fallback)
