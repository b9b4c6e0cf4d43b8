from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sklearn.feature_extraction.text import TfidfVectorizer

from app.allocation.terms import (
    Analyzer,
    CharAnalyzer,
    PaperAnalyzer,
    TokenAnalyzer,
    fit_paper_analyzer,
    fit_token_analyzer,
    paper_words,
    restore_analyzer,
)
from app.core.records import DocumentBatch

CHAR = CharAnalyzer(1000)
PAPER = PaperAnalyzer(("#NUMBER", "cold", "night", "river", "ночь"))
TOKENS = TokenAnalyzer((4, 5, 9))
PIECES = some.lists(some.text(alphabet="aAßİΣσ ночь1२\t河水\u0301🜁", max_size=6), max_size=8)


def streamed(analyzer: Analyzer, pieces: list[str]) -> list[int]:
    stream = analyzer.stream()
    found = [term for piece in pieces for term in stream.push(piece, []).tolist()]
    return sorted(found + stream.pending().tolist())


@given(PIECES)
def test_characters_may_be_cut_anywhere(pieces: list[str]) -> None:
    assert streamed(CHAR, pieces) == sorted(CHAR.terms("".join(pieces)).tolist())


@given(some.lists(some.sampled_from(["cold", "Ni", "ght", " ", "river", "12", "a", "no", "чь"]), max_size=8))
def test_words_may_be_cut_anywhere(pieces: list[str]) -> None:
    assert streamed(PAPER, pieces) == sorted(PAPER.terms("".join(pieces)).tolist())


@given(PIECES)
def test_a_term_belongs_to_the_piece_in_which_it_ends(pieces: list[str]) -> None:
    terms, ends = CHAR.terms_by_piece(pieces)
    stream = CHAR.stream()
    for number, piece in enumerate(pieces):
        assert sorted(terms[ends == number].tolist()) == sorted(stream.push(piece, []).tolist())


def test_a_text_of_n_characters_has_all_its_n_grams_up_to_four() -> None:
    assert len(CHAR.terms("abcdef")) == 6 + 5 + 4 + 3
    assert len(CHAR.terms("")) == 0


def test_indices_equal_the_same_hash_in_python_integers() -> None:
    text, size, mask = "a river", 1000, 2**64 - 1
    expected = []
    for order in range(1, 5):
        for start in range(len(text) - order + 1):
            value = ord(text[start]) * 0x9E3779B97F4A7C15 & mask
            for character in text[start + 1 : start + order]:
                value = (value * 0x9E3779B97F4A7C15 + ord(character)) & mask
            expected.append(((value * 0xD6E8FEB86659FD93 & mask) >> 32) * size >> 32)
    assert CharAnalyzer(size).terms(text).tolist() == expected


def test_tokens_are_counted_by_id_and_unknown_ids_are_passed_over() -> None:
    documents = ([9, 4, 9, 7, 10_000], [], [3, 5])
    batch = DocumentBatch(("1", "2", "3"), ("en",) * 3, (), tuple(np.array(ids, dtype=np.int64) for ids in documents))
    assert TOKENS.counts(batch).toarray().tolist() == [[1, 0, 2], [0, 0, 0], [0, 1, 0]]
    assert TOKENS.counts(batch).has_sorted_indices
    stream = TOKENS.stream()
    assert stream.push("any text", [9, 7, 4]).tolist() == [2, 0] and stream.pending().tolist() == []
    assert TOKENS.spelled(batch, 0, lambda ids: f"<{ids[0]}>")[0] == ["<9>", "<4>", "<9>"]


def test_the_token_ids_of_most_documents_are_kept_and_of_equal_ones_the_smaller() -> None:
    documents = [np.array(ids) for ids in ([7, 7, 7, 7], [3, 5], [5, 9], [5, 9])]
    assert fit_token_analyzer(documents, 2).ids == (5, 9)
    assert fit_token_analyzer(documents, 3).ids == (3, 5, 9)
    assert fit_token_analyzer(documents, 100).ids == (3, 5, 7, 9)


@pytest.mark.parametrize("analyzer", [CHAR, PAPER])
def test_counts_are_those_of_the_terms(analyzer: CharAnalyzer | PaperAnalyzer) -> None:
    texts = ("cold cold night", "", "river 12 ночь")
    counts = analyzer.counts(DocumentBatch(("1", "2", "3"), ("en",) * 3, texts)).toarray()
    assert counts.tolist() == [np.bincount(analyzer.terms(text), minlength=analyzer.size).tolist() for text in texts]


def test_case_digits_and_white_space_are_folded() -> None:
    assert CHAR.terms("Straße 12").tolist() == CHAR.terms("STRASSE\n34").tolist()


def test_every_script_has_terms_of_its_own() -> None:
    analyzer = CharAnalyzer(10**6)
    texts = ["river", "река", "नदी", "河水", "نهر", "𞤀𞤣", "강물", "แม่น้ำ"]
    terms = [set(analyzer.terms(text).tolist()) for text in texts]
    assert all(terms)
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(terms, 2))


def test_indices_fill_the_whole_range_evenly() -> None:
    text = "".join(chr(code) for code in np.random.default_rng(0).integers(0x4E00, 0x9FFF, size=20_000))
    counts = np.bincount(CharAnalyzer(64).terms(text), minlength=64)
    assert counts.min() > 0.9 * counts.mean() and counts.max() < 1.1 * counts.mean()


def test_paper_words_equal_sklearn_with_number_rule() -> None:
    text = "The river, 1984 AND 3rd night: don't stop; naïve Fluß-Überquerung x yz"
    tokenize = TfidfVectorizer().build_analyzer()
    stop = TfidfVectorizer(stop_words="english").get_stop_words() or frozenset()
    words = ["#NUMBER" if word[0].isdigit() else word for word in tokenize(text)]
    assert paper_words(text) == [word for word in words if word not in stop]


def test_paper_words_find_one_run_in_chinese_and_split_hindi() -> None:
    assert paper_words("河水冰冷宽阔") == ["河水冰冷宽阔"]
    assert paper_words("नदी ठंडी") == ["नद"]


def test_paper_vocabulary_keeps_the_most_frequent_words() -> None:
    analyzer = fit_paper_analyzer(["river river night", "river night cold", "zebra"], 2)
    assert analyzer.vocabulary == ("night", "river")
    assert analyzer.terms("river zebra river").tolist() == [1, 1]


@pytest.mark.parametrize("analyzer", [TOKENS, CHAR, PAPER])
def test_analyzers_survive_json(analyzer: Analyzer) -> None:
    assert restore_analyzer(analyzer.describe()) == analyzer
