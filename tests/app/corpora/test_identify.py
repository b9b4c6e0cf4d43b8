from __future__ import annotations

import sys

import pytest

from app.core.errors import ConfigError
from app.corpora import identify
from app.corpora.identify import confidence, known_languages

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


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    identify.known_languages.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"extra langid: pip install 'xelm-ray\[langid\]'.*off"):
            known_languages()
    finally:
        identify.known_languages.cache_clear()
