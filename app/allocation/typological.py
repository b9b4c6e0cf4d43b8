"""Typological allocation: languages of similar syntax share an expert (URIEL, the paper's pairing)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.allocation.base import Evidence, OfLanguages, Typology, expert_names
from app.allocation.by_language import LanguageAllocator
from app.allocation.clustering import Agglomeration, average_link, pair_clusters
from app.allocation.distances import informative, typological_distances
from app.core.errors import AllocationError
from app.core.records import FloatArray
from app.core.suggest import unknown_value

LINKAGES: Mapping[str, Callable[[FloatArray, Sequence[str], int], Agglomeration]] = {
    "published": pair_clusters,
    "average": average_link,
}


def cluster_languages(typology: Typology, k: int, linkage: str = "published") -> list[list[str]]:
    """Cut the languages into exactly k groups, in the order of pairing; every language is in one of them.

    Raises AllocationError if k is not in 1..n or the linkage is unknown. Source: arXiv 2401.10440.
    """
    languages = typology.languages
    if not 1 <= k <= len(languages):
        raise AllocationError(
            f"allocation.k is {k} but there are {len(languages)} languages ({', '.join(languages)}); "
            f"choose k from 1 to {len(languages)}"
        )
    return [[languages[row] for row in cluster] for cluster in _agglomerate(typology, k, linkage).clusters]


def language_tree(typology: Typology, linkage: str = "published") -> list[tuple[list[str], list[str], float]]:
    """Every merge down to one cluster, first merge first: languages of the one, of the other, and their distance.

    The first n - k of them make the k groups of ``cluster_languages``. Raises AllocationError.
    """
    names = typology.languages
    return [
        ([names[row] for row in merge.left], [names[row] for row in merge.right], merge.distance)
        for merge in _agglomerate(typology, 1, linkage).merges
    ]


def _agglomerate(typology: Typology, k: int, linkage: str) -> Agglomeration:
    if linkage not in LINKAGES:
        raise AllocationError(unknown_value("allocation linkage", linkage, LINKAGES))
    distances = typological_distances(informative(typology.features))
    return LINKAGES[linkage](distances, typology.languages, k)


@dataclass(frozen=True)
class TypologicalStrategy(OfLanguages):
    """Languages to experts by syntax."""

    @property
    def needs(self) -> frozenset[str]:
        """Syntax features of the languages."""
        return frozenset({"typology"})

    def fit(self, evidence: Evidence, k: int, seed: int) -> LanguageAllocator:
        """Cluster; ``seed`` changes nothing. Raises AllocationError if k does not fit the languages."""
        assert evidence.typology is not None
        clusters = cluster_languages(evidence.typology, k, self.settings.linkage)
        return LanguageAllocator(
            experts=expert_names(k),
            clusters=tuple(tuple(cluster) for cluster in clusters),
            fallback=self.settings.fallback,
        )
