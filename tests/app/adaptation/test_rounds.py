from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.adaptation.rounds import (
    NewExpert,
    family_tree,
    parse_groups,
    plan_rounds,
    ranked_by_distance,
    ranked_by_expert,
    rankings,
    tree_text,
)
from app.core.errors import AllocationError, CorpusError

PUBLISHED = ("en-es", "de-el", "ja-ko", "hi-ur", "bg-ru", "fr-ar", "tr-zh", "vi-sw")
OWNERS = {lang: f"expert-{i:02d}" for i, pair in enumerate(PUBLISHED) for lang in pair.split("-")}
EXPERTS = [f"expert-{i:02d}" for i in range(8)]
DISTANCES = {"x": {"a": 0.3, "b": 0.1}, "y": {"a": 0.2, "b": 0.4, "x": 0.05}, "z": {"a": 0.5, "b": 0.6}}


def rank(lang: str, candidates: Sequence[str]) -> list[tuple[str, float]]:
    return sorted(((c, DISTANCES[lang][c]) for c in candidates if c in DISTANCES[lang]), key=lambda pair: pair[1])


def test_the_papers_four_languages_have_the_papers_donors_and_parents() -> None:
    planned = plan_rounds(OWNERS, EXPERTS, parse_groups(["az", "he", "pl", "sv"]), last_round=0)
    assert {new.languages[0]: new.donor for new in planned} == {"az": "tr", "he": "ar", "pl": "ru", "sv": "en"}
    assert [(new.name, new.parent, new.round) for new in planned] == [
        ("expert-08", "expert-06", 1),
        ("expert-09", "expert-05", 1),
        ("expert-10", "expert-04", 1),
        ("expert-11", "expert-00", 1),
    ]


def test_in_turn_a_later_language_may_branch_from_an_earlier_ones_expert() -> None:
    owners, names = {"a": "expert-00", "b": "expert-01"}, ["expert-00", "expert-01"]
    together = plan_rounds(owners, names, [("x",), ("y",)], 2, rank=rank)
    assert [(new.donor, new.parent, new.round) for new in together] == [("b", "expert-01", 3), ("a", "expert-00", 3)]
    in_turn = plan_rounds(owners, names, [("x",), ("y",)], 2, in_turn=True, rank=rank)
    assert [(new.donor, new.parent, new.round) for new in in_turn] == [("b", "expert-01", 3), ("x", "expert-02", 4)]


def test_a_group_takes_the_nearest_donor_of_any_of_its_languages_and_a_free_name() -> None:
    owners = {"a": "expert-00", "b": "expert-07"}
    (new,) = plan_rounds(owners, ["expert-00", "expert-07", "old"], [("z", "x")], 0, rank=rank)
    assert new == NewExpert("expert-08", ("z", "x"), "b", "expert-07", 1)


@pytest.mark.parametrize("groups", [[("a",)], [("x",), ("x",)], [("x", "y"), ("y",)]])
def test_a_language_that_somebody_holds_is_refused(groups: list[tuple[str, ...]]) -> None:
    with pytest.raises(AllocationError, match=r"belongs to .* already"):
        plan_rounds({"a": "expert-00", "b": "expert-01"}, ["expert-00", "expert-01"], groups, 0, rank=rank)


def test_a_language_without_features_names_the_other_ranking() -> None:
    with pytest.raises(AllocationError, match=r"no donor is known for q.*ranking=perplexity"):
        plan_rounds({"a": "expert-00"}, ["expert-00"], [("q",)], 0, rank=lambda *_: [])
    with pytest.raises(CorpusError):
        parse_groups(["nolanguage"])


def test_by_surprise_the_languages_of_the_least_surprised_expert_come_first() -> None:
    owners = {"a": "one", "b": "two", "c": "two"}
    typology = lambda *_: [("a", 0.1), ("c", 0.2), ("b", 0.3)]  # noqa: E731
    ranked = ranked_by_expert({"one": 5.0, "two": 4.0}, owners, typology)("x", ["a", "b", "c"])
    assert ranked == [("c", 4.0), ("b", 4.0), ("a", 5.0)]


def test_of_languages_with_equal_figures_the_one_that_the_ranking_has_first_is_the_donor() -> None:
    def surprised(_lang: str, _candidates: Sequence[str]) -> list[tuple[str, float]]:
        return [("tr", 2.0), ("az", 2.0), ("de", 3.0)]

    owners = {"tr": "expert-00", "az": "expert-00", "de": "expert-01"}
    (new,) = plan_rounds(owners, ["expert-00", "expert-01"], [("kk",)], 0, rank=surprised)
    assert (new.donor, new.parent) == ("tr", "expert-00")


def test_by_a_table_of_distances_those_that_are_in_it_are_ranked() -> None:
    distances = np.array([[0.0, 0.4, 0.2], [0.4, 0.0, 0.1], [0.2, 0.1, 0.0]])
    ranked = ranked_by_distance(distances, ["a", "b", "x"])
    assert ranked("x", ["a", "b", "c", "x"]) == [("b", 0.1), ("a", 0.2)]
    assert ranked("y", ["a", "b"]) == []


def test_the_tree_shows_each_expert_below_its_parent() -> None:
    first = [{"expert": "expert-00", "languages": ["a"], "parent": "seed", "round": 0}]
    added = [NewExpert("expert-01", ("x",), "a", "expert-00", 1), NewExpert("expert-02", ("y",), "x", "expert-01", 2)]
    tree = family_tree(first, added)  # type: ignore[arg-type]
    assert tree_text(tree).splitlines() == [
        "seed",
        "  expert-00: a",
        "    expert-01: x, donor a",
        "      expert-02: y, donor x",
    ]
    assert rankings([("x",)], ["a", "b"], rank) == {"x": [("b", 0.1), ("a", 0.3)]}
