from __future__ import annotations

from app.adaptation.coverage import badly_covered


def test_a_language_of_half_again_as_many_tokens_a_byte_is_named_with_how_many() -> None:
    first = {"de": 0.2, "en": 0.25, "ja": 0.4}
    assert badly_covered({"pl": 0.3, "he": 0.375, "am": 1.0}, first) == {"am": 4.0, "he": 1.5}


def test_nothing_is_said_without_languages_to_compare_with() -> None:
    assert badly_covered({"pl": 0.3}, {}) == {}
