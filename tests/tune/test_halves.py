from __future__ import annotations

from tune.halves import half_of

NAMES = [f"d{number}" for number in range(11)]
LANGS = ["de"] * 5 + ["hi"] * 6


def test_each_document_is_in_one_half_and_each_language_in_both() -> None:
    first, second = (half_of(NAMES, LANGS, half) for half in (0, 1))
    assert sorted(first + second) == list(range(11))
    assert [LANGS[place] for place in first].count("de") == 3 and [LANGS[place] for place in second].count("hi") == 3


def test_a_documents_half_does_not_depend_on_the_order_or_on_other_languages() -> None:
    names = {NAMES[place] for place in half_of(NAMES, LANGS, 0)}
    turned = NAMES[::-1]
    again = {turned[place] for place in half_of(turned, LANGS[::-1], 0)}
    assert again == names
    assert {NAMES[place] for place in half_of(NAMES[:5], LANGS[:5], 0)} == {name for name in names if name in NAMES[:5]}
