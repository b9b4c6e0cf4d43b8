from __future__ import annotations

import math

import pytest

from app.allocation.by_language import LanguageAllocator
from app.core.errors import AllocationError
from app.core.records import DocumentBatch

TWO = LanguageAllocator(("expert-00", "expert-01"), (("en", "de"), ("ru", "he")))


def test_assigns_by_language_row_by_row() -> None:
    batch = DocumentBatch(("1", "2", "3"), ("ru", "en", "de"), ("", "", ""))
    assert TWO.assign(batch).tolist() == [1, 0, 0]


def test_a_foreign_spelling_is_understood() -> None:
    assert TWO.expert_of("iw") == 1
    assert TWO.expert_of("deu_Latn") == 0


def test_context_is_one_hot_whatever_the_text() -> None:
    state = TWO.context("ru")
    state.extend("ein deutscher Satz", [1])
    assert state.distances().tolist() == [math.inf, 0.0]


def test_an_unknown_language_names_the_nearest_known_ones() -> None:
    with pytest.raises(AllocationError, match=r"'pl' belongs to no expert; the nearest known: ru.*fallback"):
        TWO.assign(DocumentBatch(("1",), ("pl",), ("",)))


def test_a_language_that_is_none_is_refused() -> None:
    with pytest.raises(AllocationError, match=r"unknown language 'q9'"):
        TWO.expert_of("q9")


def test_a_request_without_language_is_refused() -> None:
    with pytest.raises(AllocationError, match=r"must name one of de, en, he, ru"):
        TWO.context(None)


def test_fallback_gives_an_unknown_language_to_its_relative() -> None:
    family = LanguageAllocator(TWO.experts, TWO.clusters, "family")
    assert family.expert_of("uk") == 1
    assert family.expert_of("sv") == 0
    with pytest.raises(AllocationError, match="belongs to no expert"):
        family.expert_of("ja")


def test_with_expert_appends_and_changes_nothing_else() -> None:
    grown = TWO.with_expert("expert-02", ["az"], "expert-01")
    assert grown.languages_by_expert() == [["en", "de"], ["ru", "he"], ["az"]]
    assert grown.context("en").distances().tolist() == [0.0, math.inf, math.inf]
    assert TWO.experts == ("expert-00", "expert-01")


@pytest.mark.parametrize(
    ("name", "languages", "message"),
    [
        ("expert-01", ["az"], "exists already"),
        ("expert-02", ["ru"], "belongs to expert-01 already"),
        ("expert-02", [], "no language"),
    ],
)
def test_with_expert_refuses_what_is_taken(name: str, languages: list[str], message: str) -> None:
    with pytest.raises(AllocationError, match=message):
        TWO.with_expert(name, languages, "expert-00")
