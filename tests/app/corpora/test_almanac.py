from __future__ import annotations

import datetime
import itertools
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import pytest

from app.core.errors import CorpusError
from app.core.languages import script
from app.core.records import Document
from app.core.seeding import generator
from app.corpora.almanac import TOPICS, AlmanacCorpus, almanac_languages, read_words, write_page
from app.corpora.base import CorpusSettings

PAPER = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh")
ALSO_MEASURED = ("az", "he", "pl", "sv")
SCRIPT_WORDS = {"Arab": "ARABIC", "Cyrl": "CYRILLIC", "Deva": "DEVANAGARI", "Grek": "GREEK", "Hebr": "HEBREW"}
SCRIPT_WORDS |= {"Jpan": "CJK HIRAGANA KATAKANA", "Kore": "HANGUL", "Hans": "CJK", "Latn": "LATIN", "Beng": "BENGALI"}


def _documents(*languages: str, split: str = "train", seed: int = 0, documents: int = 30) -> Iterator[Document]:
    settings = CorpusSettings(
        source="almanac",
        languages=languages,
        seed=seed,
        documents_per_language=documents,
        validation_documents_per_language=documents,
    )
    corpus = AlmanacCorpus(settings)
    for file in corpus.files():
        if file.split == split:
            for row in corpus.read(file):
                assert isinstance(row, Document)
                yield row


def test_over_a_hundred_languages_are_complete_and_all_that_the_paper_names() -> None:
    assert len(almanac_languages()) > 100
    assert set(PAPER + ALSO_MEASURED) <= set(almanac_languages())


def test_a_language_that_only_inherits_its_words_is_not_complete() -> None:
    assert "ht" not in almanac_languages()  # CLDR gives Haitian Creole the French names


def test_every_topic_of_at_least_five_gives_lines_in_every_language() -> None:
    assert len(TOPICS) >= 5
    for lang in almanac_languages():
        rng = generator(0, "topics", lang)
        lines = {name: topic(read_words(lang), rng) for name, topic in TOPICS.items()}
        assert all(lines.values()) and not any("\n" in line for line in lines.values()), lang


def test_text_is_in_the_languages_own_script_with_no_foreign_word() -> None:
    for lang in (*PAPER, *ALSO_MEASURED, "bn", "mr"):
        text = " ".join(document.text for document in _documents(lang))
        letters = [unicodedata.name(letter).split()[0] for letter in text if letter.isalpha()]
        own = [name for name in letters if name in SCRIPT_WORDS[script(lang)].split()]
        assert len(own) > 0.95 * len(letters), lang
        if script(lang) != "Latn":
            assert re.findall(r"[A-Za-z]{2,}", text) == [], lang


def test_no_page_shows_a_name_that_is_only_the_roots() -> None:
    for lang in almanac_languages():
        text = "\n".join(document.text for document in _documents(lang, documents=5))
        assert not re.search(r"\bM\d\d\b|\{\d\}|∅|�", text), lang


def test_dates_and_numbers_are_written_in_the_languages_own_digits() -> None:
    text = " ".join(document.text for document in _documents("bn", "fa", "mr", "ne"))
    digits = {
        unicodedata.name(digit).removesuffix(unicodedata.name(digit).split()[-1]) for digit in text if digit.isdigit()
    }
    assert {name.strip() for name in digits} - {"SUPERSCRIPT"} == {
        "BENGALI DIGIT",
        "EXTENDED ARABIC-INDIC DIGIT",
        "DEVANAGARI DIGIT",
    }


def test_german_page_against_one_read_by_eye() -> None:
    text = " ".join(document.text for document in _documents("de", documents=200))
    months = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()  # noqa: SIM905
    for word in [*months, "Mittwoch", "Frankreich", "Kilometer", "vor 2 Wochen", "in 1 Tag", "Suaheli", " und "]:
        assert word in text
    assert re.search(r"\d{1,3}\.\d{3} (Euro|Yen|Japanische Yen|US-Dollar)", text)


def test_pages_have_the_size_of_short_web_pages() -> None:
    for lang in PAPER:
        sizes = [len(document.text.encode()) for document in _documents(lang, documents=100)]
        assert 300 < sum(sizes) / len(sizes) < 1500, lang
        assert min(sizes) > 100 and max(sizes) < 4000, lang


def test_same_settings_same_text_and_another_seed_another() -> None:
    first = list(_documents("de", "ja"))
    assert first == list(_documents("de", "ja"))
    assert {document.text for document in first}.isdisjoint(
        document.text for document in _documents("de", "ja", seed=1)
    )
    assert len({document.text for document in first}) == len(first) == len({document.doc_id for document in first})


def test_a_chunk_does_not_depend_on_how_many_documents_are_asked_for() -> None:
    few, many = list(_documents("sw", documents=30)), list(_documents("sw", documents=300))
    assert many[:30] == few and len(many) == 300


def test_text_does_not_depend_on_the_languages_read_before() -> None:
    """Babel's aliases leak between locales: Frisian weekdays into Belarusian, in the order of use."""
    program = "from app.corpora.almanac import read_words as r; {}; w = r('be'); print(ascii((w.weekdays, w.months)))"
    alone, after = (
        subprocess.run([sys.executable, "-c", program.format(first)], capture_output=True, check=True).stdout
        for first in ("pass", "r('fy'); r('ur'); r('de')")
    )
    assert alone == after
    assert ascii("панядзелак").strip("'").encode() in alone


def test_training_and_validation_never_share_a_page() -> None:
    for lang in almanac_languages():
        words = read_words(lang)
        headings = {
            held: {write_page(words, generator(n, lang, held), bool(held)).split("\n")[0] for n in range(20)}
            for held in (0, 1)
        }
        assert headings[0].isdisjoint(headings[1]), lang


def test_every_way_to_write_a_heading_tells_the_day_apart() -> None:
    """With the rule above this makes the two splits disjoint whatever their size: equal pages have equal days."""
    days = [datetime.date(1950, 1, 1) + datetime.timedelta(days=37 * n) for n in range(950)]
    for lang in PAPER:
        words = read_words(lang)
        for pattern in words.days:
            assert len({pattern.apply(day, words.locale) for day in days}) == len(days), lang


def test_files_are_chunks_of_language_and_split_in_the_order_of_the_settings() -> None:
    settings = CorpusSettings(source="almanac", languages=("iw", "de"), documents_per_language=401)
    files = AlmanacCorpus(settings).files()
    assert [file.uri for file in files] == [
        f"almanac:{lang}:{chunk}"
        for lang, chunk in itertools.product(("he", "de"), ("train:0", "train:1", "train:2", "validation:0"))
    ]
    assert {(file.lang, file.split) for file in files} == {
        (lang, split) for lang in ("he", "de") for split in ("train", "validation")
    }


def test_no_language_named_means_all() -> None:
    assert {file.lang for file in AlmanacCorpus(CorpusSettings(source="almanac")).files()} == set(almanac_languages())


def test_a_language_without_an_almanac_is_refused_and_those_with_one_are_listed() -> None:
    with pytest.raises(CorpusError, match=r"no complete data for ht.*near: .*take it out of corpus.languages.*\bzu\b"):
        AlmanacCorpus(CorpusSettings(source="almanac", languages=("de", "ht"))).files()
    with pytest.raises(CorpusError, match="unknown language 'xx'"):
        AlmanacCorpus(CorpusSettings(source="almanac", languages=("xx",))).files()


def test_fingerprint_holds_what_the_text_depends_on() -> None:
    def fingerprint(**changes: int) -> object:
        return AlmanacCorpus(CorpusSettings(source="almanac", **changes)).fingerprint()

    assert fingerprint() == fingerprint()
    assert fingerprint() not in [fingerprint(seed=1), fingerprint(documents_per_language=1)]
