"""Equal groups of languages that are alike by what a probe of the seed has measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.allocation.base import Evidence, OfLanguages
from app.allocation.by_language import LanguageAllocator
from app.allocation.equal_groups import equal_groups, exchanged, grouped_allocator, require_k

PROBE_OF: Mapping[str, str] = {
    "parameter_deviation": "deviation",
    "gradient_similarity": "gradient",
    "representation_similarity": "representation",
    "transfer": "transfer",
}
"""Strategy -> the probe that it looks at (``app.probes``)."""


@dataclass(frozen=True)
class ProbedStrategy(OfLanguages):
    """Greedy equal groups by the distances of the strategy's probe; by transfer, those of the most help in all."""

    @property
    def needs(self) -> frozenset[str]:
        """The probe's distances between the languages."""
        return frozenset({"languages", f"probe:{PROBE_OF[self.settings.strategy]}"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> LanguageAllocator:
        """evidence.probes: (n, n) distances in the order of its languages. ``seed`` changes nothing.

        Raises AllocationError if k does not fit the languages.
        """
        names = evidence.languages
        require_k(k, names)
        probe = PROBE_OF[self.settings.strategy]
        groups = equal_groups(evidence.probes[probe], names, k)
        # Greedy takes the best pair first and may leave a last group that does harm; here the sum over groups counts.
        if probe == "transfer":
            groups = exchanged(evidence.probes[probe], groups)
        return grouped_allocator(groups, names, k, self.settings.fallback)
