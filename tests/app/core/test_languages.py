from __future__ import annotations

import unicodedata

import pytest

from app.core.errors import CorpusError
from app.core.languages import (
    display_name,
    is_right_to_left,
    iso639_3,
    known_codes,
    native_name,
    normalise,
    recognised,
    script,
)

# The languages of mC4 as its files are named (c4-<code>.tfrecord-*).
_MC4_NAMES = (
    "af am ar az be bg bg-Latn bn ca ceb co cs cy da de el el-Latn en eo es et eu fa fi fil fr fy ga gd gl gu ha haw"
    " hi hi-Latn hmn ht hu hy id ig is it iw ja ja-Latn jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt"
    " my ne nl no ny pa pl ps pt ro ru ru-Latn sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk und ur uz vi"
    " xh yi yo zh zh-Latn zu"
)
MC4 = _MC4_NAMES.split()


def test_mc4_codes_are_ours_but_for_hebrew() -> None:
    assert {code: normalise(code) for code in MC4 if normalise(code) != code} == {"iw": "he"}


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        *[("iw", "he"), ("in", "id"), ("ji", "yi"), ("jw", "jv"), ("tl", "fil"), ("nb", "no"), ("en-multi", "en")],
        *[("eng_Latn", "en"), ("deu_Latn", "de"), ("ger", "de"), ("cmn_Hani", "zh"), ("arb_Arab", "ar")],
        *[("nob_Latn", "no"), ("ekk_Latn", "et"), ("swh_Latn", "sw"), ("hin_Deva", "hi"), ("hin_Latn", "hi-Latn")],
        *[
            ("bg_latn", "bg-Latn"),
            ("EN", "en"),
            ("zh-Hant-TW", "zh"),
            ("pt_BR", "pt"),
            ("es-419", "es"),
            ("und", "und"),
        ],
        *[("aai_Latn", "aai"), ("quy_Latn", "quy"), (" de ", "de")],
        *[("sh", "sr-Latn"), ("hbs_Latn", "sr-Latn"), ("hbs", "sr-Latn"), ("srp_Latn", "sr-Latn"), ("hbs_Cyrl", "sr")],
        *[("prs_Arab", "fa"), ("cnr", "sr"), ("und_Latn", "und")],
    ],
)
def test_usual_spellings_of_a_language_are_one_code(given: str, ours: str) -> None:
    assert normalise(given) == ours


def test_normalising_twice_changes_nothing() -> None:
    codes = [*known_codes(), *(normalise(code) for code in MC4), "aai", "hi-Latn"]
    assert [normalise(code) for code in codes] == codes


@pytest.mark.parametrize(
    ("unknown", "near"), [("xx", "xh"), ("jp", "ja"), ("cz", "cs"), ("englsh", "en"), ("deutsch", "de"), ("zzz", "zza")]
)
def test_unknown_code_is_refused_with_the_nearest_known(unknown: str, near: str) -> None:
    with pytest.raises(CorpusError, match=rf"unknown language '{unknown}'.*\b{near}\b"):
        normalise(unknown)


@pytest.mark.parametrize(("misspelt", "meant"), [("englsh", "en"), ("swahli", "sw"), ("Espanol", "es"), ("jp", "ja")])
def test_a_misspelt_language_is_answered_with_the_one_that_was_meant(misspelt: str, meant: str) -> None:
    with pytest.raises(CorpusError, match=rf"; did you mean {meant}\?"):
        normalise(misspelt)


def test_the_names_of_languages_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError):
        normalise("englsh")
    monkeypatch.setattr("app.core.languages.Locale", None)  # each would be read again
    with pytest.raises(CorpusError, match="did you mean sw"):
        normalise("swahli")


def test_what_is_no_language_is_known_without_a_search_for_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    # a corpus has thousands of files, and each part of their names may be a language
    monkeypatch.setattr("app.core.languages.nearest", None)
    assert [recognised(word) for word in ("part-00017", "text", "my_text", "", "iw", "deu_Latn", "en-multi")] == [
        *[None] * 4,
        *("he", "de", "en"),
    ]
    assert all(recognised(code) == normalise(code) for code in (*MC4, *known_codes(), "aai", "hi-Latn"))


@pytest.mark.parametrize("name", ["my_text", "de_data", "it_Corp", "en_QQ", "no_good", "am_Main"])
def test_a_word_that_begins_like_a_code_is_no_language(name: str) -> None:
    with pytest.raises(CorpusError, match=f"unknown language '{name}'"):
        normalise(name)


@pytest.mark.parametrize("unknown", ["", "12", "c4-de", "de_Latn_DE_x", "д"])
def test_what_is_no_code_at_all_is_refused(unknown: str) -> None:
    with pytest.raises(CorpusError, match="unknown language"):
        normalise(unknown)


@pytest.mark.parametrize(
    ("code", "expected", "letters"),
    [
        *[("ar", "Arab", "ARABIC"), ("bg", "Cyrl", "CYRILLIC"), ("de", "Latn", "LATIN"), ("el", "Grek", "GREEK")],
        *[("he", "Hebr", "HEBREW"), ("hi", "Deva", "DEVANAGARI"), ("ja", "Jpan", "CJK"), ("ko", "Kore", "HANGUL")],
        *[("ur", "Arab", "ARABIC"), ("vi", "Latn", "LATIN"), ("zh", "Hans", "CJK"), ("am", "Ethi", "ETHIOPIC")],
    ],
)
def test_script_is_that_of_the_languages_own_name(code: str, expected: str, letters: str) -> None:
    assert script(code) == expected
    assert all(unicodedata.name(c).startswith(letters) for c in native_name(code) if c.isalpha() and c != "ʼ")


def test_romanised_and_undetermined_text_have_their_own_script() -> None:
    assert (script("hi-Latn"), script("und"), script("qqq")) == ("Latn", "Zyyy", "Zyyy")


def test_right_to_left_languages_of_mc4_by_the_direction_of_their_first_letter() -> None:
    expected = {
        code
        for code in MC4
        if "-" not in code and unicodedata.bidirectional(native_name(normalise(code))[0]) in ("R", "AL")
    }
    assert expected == {code for code in MC4 if is_right_to_left(normalise(code))}


def test_names_in_english_in_another_language_and_in_their_own() -> None:
    assert (display_name("sw"), display_name("zh", "de"), native_name("sw")) == ("Swahili", "Chinesisch", "Kiswahili")
    assert display_name("hi-Latn") == "Hindi (Latin)"
    assert (display_name("aai"), native_name("aai")) == ("aai", "aai")


@pytest.mark.parametrize(
    ("code", "longer"), [("de", "deu"), ("zh", "zho"), ("he", "heb"), ("fil", "fil"), ("hi-Latn", "hin"), ("ar", "ara")]
)
def test_three_letter_code(code: str, longer: str) -> None:
    assert longer in iso639_3(code)
