from __future__ import annotations

from app.core.suggest import nearest, unknown_value


def test_nearest_puts_the_closest_first_and_refuses_what_is_far() -> None:
    assert nearest("typologicl", ["random", "typological", "topological"]) == ["typological", "topological"]
    assert nearest("zzz", ["random"]) == []


def test_an_unknown_value_is_named_with_the_nearest_and_all_known() -> None:
    message = unknown_value("allocation strategy", "typology", ["tfidf", "typological"])
    assert message == "unknown allocation strategy 'typology'; did you mean 'typological'? known: tfidf, typological"


def test_without_a_near_value_only_the_known_ones_are_listed() -> None:
    assert unknown_value("preset", "zzz", ["demo"]) == "unknown preset 'zzz'; known: demo"
