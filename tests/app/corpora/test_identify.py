from __future__ import annotations

import sys

import pytest

from app.core.errors import ConfigError
from app.corpora import identify
from app.corpora.identify import confidence, known_languages, most_likely

TEXTS = {
    "de": "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller Gewalt.",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "no": "Alle mennesker er født frie og med samme menneskeverd og menneskerettigheter. De har fornuft.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון.",
}


@pytest.mark.parametrize("lang", TEXTS)
def test_a_text_is_taken_for_its_language_in_our_code_and_for_no_other(lang: str) -> None:
    for labelled in TEXTS:
        found = confidence(labelled, TEXTS[lang])
        assert found is not None
        sure, looks_like = found
        assert looks_like == lang
        assert (sure > 0.5) == (labelled == lang)


@pytest.mark.parametrize("lang", ["und", "hi-Latn", "br", "nds"])
def test_a_language_it_does_not_know_is_not_judged(lang: str) -> None:
    assert lang not in known_languages() and confidence(lang, TEXTS["de"]) is None


def test_text_without_letters_gives_no_confidence() -> None:
    found = confidence("de", "12 345 67 89")
    assert found is not None and found[0] < 0.5


def test_the_most_likely_language_is_one_of_those_asked_about() -> None:
    for lang in ("de", "sw", "ja"):
        found = most_likely(TEXTS[lang], ("de", "sw", "ja", "und"))
        assert found is not None and found[0] == lang and found[1] > 0.9
    among_others = most_likely(TEXTS["no"], ("de", "sw"))
    assert among_others is not None and among_others[0] in ("de", "sw")


def test_the_end_of_a_text_decides() -> None:
    found = most_likely(30 * TEXTS["de"] + 30 * TEXTS["sw"], ("de", "sw"))
    assert found is not None and found[0] == "sw"


@pytest.mark.parametrize(
    ("text", "among"), [("12 345", ("de", "sw")), ("", ("de", "sw")), (TEXTS["de"], ("de",)), (TEXTS["de"], ("und",))]
)
def test_nothing_is_told_of_text_without_letters_or_of_a_single_language(text: str, among: tuple[str, ...]) -> None:
    assert most_likely(text, among) is None


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    identify.known_languages.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"extra langid: pip install 'xelm-ray\[langid\]'.*off"):
            known_languages()
    finally:
        identify.known_languages.cache_clear()
