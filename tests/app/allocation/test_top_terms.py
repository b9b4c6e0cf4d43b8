from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.random_split import RandomStrategy
from app.allocation.terms import CharAnalyzer, fit_paper_analyzer
from app.allocation.tfidf import TfidfStrategy
from app.allocation.top_terms import is_readable, top_terms, without_overlaps
from app.core.records import DocumentBatch

WORDS = ("the", "cat", "dog", "кошка", "собака", "там")
TOKENS = (np.array([0, 1, 0, 2]), np.array([3, 4, 5])) * 20
TEXTS = ("the cat and the dog were there", "и кошка и собака были там") * 20


def spell(ids: Sequence[int]) -> str:
    return WORDS[ids[0]]


def sample() -> DocumentBatch:
    ids = tuple(str(number) for number in range(len(TEXTS)))
    return DocumentBatch(ids, ("en", "ru") * 20, tuple(f"{text} {number}" for number, text in enumerate(TEXTS)), TOKENS)


@pytest.mark.parametrize("analyzer", ["tokens", "char", "paper"])
def test_terms_of_a_cluster_come_from_its_own_documents(analyzer: str) -> None:
    settings = AllocationSettings(strategy="tfidf", analyzer=analyzer, max_features=4096, components=4)
    allocator = TfidfStrategy(settings).fit(Evidence(documents=sample(), typology=None, probes={}), 2, 1)
    found = top_terms(allocator, sample(), spell, count=5)
    assert list(found) == list(allocator.experts)
    scripts = sorted("".join(terms).replace("·", "").isascii() for terms in found.values())
    assert scripts == [False, True] and all(found.values())


def test_other_allocators_have_no_terms() -> None:
    allocator = RandomStrategy(AllocationSettings(strategy="random")).fit(
        Evidence(documents=sample(), typology=None, probes={}), 2, 1
    )
    assert top_terms(allocator, sample(), spell) == {}


@pytest.mark.parametrize(
    ("term", "readable"),
    [("und", True), (" und", True), ("de", False), ("e d", False), ("中国", True), ("の", False), ("...", False)],
)
def test_readable_is_what_stands_within_a_word_and_is_long_enough(term: str, readable: bool) -> None:
    assert is_readable(term) == readable


def test_overlapping_terms_are_shown_once_the_strongest_first() -> None:
    assert without_overlaps(["und ", " und", "nd ", "der", "oder", "ein"], 3) == ["und·", "der", "ein"]
    assert without_overlaps(["aaa", "bbb", "ccc"], 2) == ["aaa", "bbb"]


def test_terms_are_spelled_in_the_order_of_their_indices() -> None:
    text = "The cat sat on 12 mats"
    analyzer = CharAnalyzer(1 << 20)
    batch = DocumentBatch(("1",), ("en",), (text,))
    spelled, indices = analyzer.spelled(batch, 0, spell)
    assert np.array_equal(indices, analyzer.terms(text)) and spelled[0] == "t" and spelled[-1] == "mats"
    for term, index in zip(spelled, indices, strict=True):
        assert analyzer.terms(term)[-1] == index
    paper = fit_paper_analyzer([text], 10)
    words, indices = paper.spelled(batch, 0, spell)
    assert [paper.vocabulary[index] for index in indices] == words
