"""The published groups of arXiv 2401.10440 for its 16 languages, k = 8 and k = 4, in pairing order."""

from __future__ import annotations

import itertools
import random

import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.by_language import LanguageAllocator
from app.allocation.strategies import fit_allocation
from app.allocation.uriel import donor_ranking

LANGUAGES = ["en", "fr", "es", "de", "el", "bg", "ru", "tr", "ar", "vi", "zh", "hi", "sw", "ur", "ja", "ko"]
PUBLISHED = {
    8: "en-es de-el ja-ko hi-ur bg-ru fr-ar tr-zh vi-sw",
    4: "en-es-bg-ru ja-ko-tr-zh de-el-fr-ar hi-ur-vi-sw",
}
DONORS = {"he": "ar", "sv": "en", "pl": "ru", "az": "tr"}


def clusters(languages: list[str], k: int, settings: AllocationSettings | None = None) -> list[list[str]]:
    fitted = fit_allocation(settings or AllocationSettings(), Evidence(None, None, {}), k, 0, languages)
    assert isinstance(fitted, LanguageAllocator)
    return fitted.languages_by_expert()


@pytest.mark.parametrize("k", [4, 8])
def test_published_groups_in_the_papers_order(k: int) -> None:
    assert ["-".join(cluster) for cluster in clusters(LANGUAGES, k)] == PUBLISHED[k].split()


@pytest.mark.parametrize("k", [4, 8])
@pytest.mark.parametrize("seed", range(5))
def test_published_groups_whatever_the_order_of_the_languages(k: int, seed: int) -> None:
    shuffled = random.Random(seed).sample(LANGUAGES, len(LANGUAGES))
    found = [frozenset(cluster) for cluster in clusters(shuffled, k)]
    assert found == [frozenset(group.split("-")) for group in PUBLISHED[k].split()]


@pytest.mark.parametrize("linkage", ["published", "average"])
@pytest.mark.parametrize("k", range(1, 17))
def test_every_k_gives_k_clusters_and_loses_no_language(k: int, linkage: str) -> None:
    found = clusters(LANGUAGES, k, AllocationSettings(linkage=linkage))  # type: ignore[arg-type]  # parametrized
    assert len(found) == k
    assert sorted(itertools.chain.from_iterable(found)) == sorted(LANGUAGES)


@pytest.mark.parametrize("lang", DONORS)
def test_published_donor_of_each_new_language(lang: str) -> None:
    assert donor_ranking(lang, LANGUAGES)[0][0] == DONORS[lang]
