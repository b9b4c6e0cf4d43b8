from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from app.corpora.places import place_of


@pytest.mark.parametrize(
    ("name", "lang", "split"),
    [
        *[("de.jsonl", "de", None), ("deu_Latn.parquet", "de", None), ("zh-Hant-TW.json.gz", "zh", None)],
        *[("de-00003.jsonl", "de", None), ("de_train.jsonl", "de", "train"), ("dev.sw.jsonl.zst", "sw", "validation")],
        *[("de-train-00000-of-00010.parquet", "de", "train"), ("es-419.jsonl", "es", None)],
        *[("train-00000-of-00002.parquet", None, "train"), ("train.jsonl", None, "train")],
        *[("my_text.jsonl", None, None), ("my.corpus.jsonl", None, None), ("wiki_de_clean.jsonl", None, None)],
        *[("my_train.jsonl", None, None), ("new-1.jsonl", None, None), ("pages.jsonl", None, None)],
        *[("my_text/a.jsonl", None, None), ("de_data/a.jsonl", None, None), ("lang=en/a.jsonl", "en", None)],
        *[("split=dev/language=hin_Latn/a.jsonl", "hi-Latn", "validation"), ("locale=sv/a.jsonl", "sv", None)],
        *[("year=de/a.jsonl", None, None), ("sw/de.jsonl", "de", None), ("test/pages.jsonl", None, "test")],
        *[("c4-iw-validation.x.json.gz", "he", "validation"), ("sh/a.jsonl", "sr-Latn", None)],
    ],
)
def test_a_name_says_a_language_only_if_the_whole_of_it_is_a_code(
    name: str, lang: str | None, split: str | None
) -> None:
    place = place_of(PurePosixPath(name), PurePosixPath("/corpus"), set(), "locale")
    assert (place.lang, place.split) == (lang, split)


def test_a_wanted_language_counts_before_a_nearer_name_and_words_count_where_they_are_wanted() -> None:
    base = PurePosixPath("/corpus")
    assert place_of(PurePosixPath("de/new/a.jsonl"), base, {"de"}, "lang").lang == "de"
    assert place_of(PurePosixPath("it_train.jsonl"), base, {"it"}, "lang").lang == "it"


def test_a_bare_code_may_be_a_word_and_anything_longer_is_meant() -> None:
    base = PurePosixPath("/corpus")
    certain = {name: place_of(PurePosixPath(name), base, set(), "lang").is_certain for name in ("new/a", "de_DE/a")}
    assert certain == {"new/a": False, "de_DE/a": True}
