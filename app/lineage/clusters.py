"""The allocation that a configuration means: fitted, and as languages of each expert where whole languages are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.allocation.base import Allocator, Evidence
from app.allocation.by_language import LanguageAllocator
from app.allocation.strategies import fit_allocation
from app.config.schema import Config
from app.core.records import DocumentBatch, FloatArray
from app.lineage.settings import allocation_settings


def fit_config(
    config: Config,
    languages: Sequence[str],
    sample: DocumentBatch | None,
    probes: Mapping[str, FloatArray] | None = None,
) -> Allocator:
    """The allocator of this config, from a sample of documents or from probes (name -> (n, n) distances of the
    languages) where its strategy needs them.
    """
    evidence = Evidence(documents=sample, typology=None, probes=probes or {})
    return fit_allocation(allocation_settings(config), evidence, config.allocation.k, config.run.seed, languages)


def plan_clusters(config: Config, languages: Sequence[str]) -> list[list[str]]:
    """Languages of each expert, in expert order, of a language-level strategy; needs no corpus."""
    return language_clusters(fit_config(config, languages, None), languages)


def language_clusters(allocator: Allocator, languages: Sequence[str]) -> list[list[str]]:
    """Languages of each expert of a language-level allocator, in expert order."""
    if isinstance(allocator, LanguageAllocator):
        return allocator.languages_by_expert()
    # Documents without text: an allocator of whole languages looks at their language alone.
    experts = allocator.assign(DocumentBatch(tuple(languages), tuple(languages), ("",) * len(languages)))
    return [[lang for lang, e in zip(languages, experts, strict=True) if e == n] for n in range(len(allocator.experts))]
