from __future__ import annotations

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, Evidence, Typology
from app.allocation.by_language import LanguageAllocator
from app.allocation.strategies import STRATEGIES, build_strategy, fit_allocation, is_language_strategy
from app.core.errors import AllocationError

NOTHING = Evidence(None, None, {})


def test_the_unit_of_each_strategy() -> None:
    assert {name: is_language_strategy(name) for name in STRATEGIES} == {
        "typological": True,
        "one_per_language": True,
        "anti_typological": True,
        "parameter_deviation": True,
        "gradient_similarity": True,
        "representation_similarity": True,
        "transfer": True,
        "tfidf": False,
        "random": False,
    }


def test_an_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(AllocationError, match="'typology'; did you mean 'typological'"):
        build_strategy(AllocationSettings(strategy="typology"))
    with pytest.raises(AllocationError, match="known: anti_typological, gradient_similarity"):
        is_language_strategy("by hand")


@pytest.mark.parametrize(
    ("strategy", "missing"), [("tfidf", "tokens"), ("random", "tokens"), ("one_per_language", "languages")]
)
def test_missing_evidence_is_named(strategy: str, missing: str) -> None:
    with pytest.raises(AllocationError, match=f"strategy={strategy} needs {missing}"):
        fit_allocation(AllocationSettings(strategy=strategy), NOTHING, 1, 0, ())


def test_a_given_typology_is_used_instead_of_uriel() -> None:
    typology = Typology(("aa", "bb", "cc"), np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.5]]))
    fitted = fit_allocation(AllocationSettings(), Evidence(None, typology, {}), 2, 0, ("aa", "bb", "cc"))
    assert isinstance(fitted, LanguageAllocator)
    assert fitted.languages_by_expert() == [["aa", "cc"], ["bb"]]
    assert fitted.experts == ("expert-00", "expert-01")


def test_a_language_named_twice_counts_once() -> None:
    fitted = fit_allocation(AllocationSettings(), NOTHING, 2, 0, ("en", "ja", "en"))
    assert isinstance(fitted, LanguageAllocator)
    assert fitted.languages_by_expert() == [["en"], ["ja"]]


@pytest.mark.parametrize("strategy", ["typological", "anti_typological"])
def test_one_part_for_all_languages_asks_nothing_of_them(strategy: str) -> None:
    """Corsican has no known feature of syntax."""
    settings, evidence = AllocationSettings(strategy=strategy), Evidence(None, None, {})
    found = fit_allocation(settings, evidence, 1, 0, ["de", "co"])
    assert isinstance(found, LanguageAllocator) and found.clusters == (("de", "co"),)
    with pytest.raises(AllocationError, match="'co' has 0 known"):
        fit_allocation(settings, evidence, 2, 0, ["de", "co"])
