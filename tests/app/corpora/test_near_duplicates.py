from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from app.core.records import Document
from app.corpora.base import Reject, document_id
from app.corpora.hash_slices import Slice, pack_hashes, read_slice
from app.corpora.near_duplicates import band_hashes, band_shape, mark_repeats, sign_documents
from tests.support.duplicates import mark_all_at_once

LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def _document(text: str, lang: str = "de") -> Document:
    return Document(document_id(lang, text), lang, text, "", "")


def _text(rng: np.random.Generator, words: int = 200) -> list[str]:
    return ["".join(word) for word in rng.choice(LETTERS, size=(words, 9))]


def _changed(words: Sequence[str], number: int, rng: np.random.Generator) -> list[str]:
    out = list(words)
    for place in rng.choice(len(out), size=number, replace=False):
        (out[place],) = _text(rng, 1)
    return out


def _jaccard(one: str, other: str) -> float:
    """By definition, without hashing."""
    sets = [{text[at : at + 5] for at in range(len(text) - 4)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _mark(files: Sequence[Sequence[Document | Reject]], threshold: float = 0.8, parts: int = 1) -> list[list[int]]:
    """By slices of each band, from files of their hashes."""
    packed = [pack_hashes(sign_documents(rows, threshold)) for rows in files]
    marked: list[set[int]] = [set() for _ in files]
    for band in range(band_shape(threshold)[0]):
        for part in range(parts):
            slices = [read_slice(lambda a, b, data=data: data[a:b], Slice(band, part, parts)) for data in packed]
            for found, numbers in zip(marked, mark_repeats(slices), strict=True):
                found.update(numbers.tolist())
    return [sorted(found) for found in marked]


def test_near_copies_share_a_band_and_different_texts_do_not_as_often_as_the_bands_promise() -> None:
    rng = np.random.default_rng(0)
    bands, rows = band_shape(0.8)
    for changes in (2, 6, 20, 60):
        shared = expected = 0.0
        for _ in range(60):
            words = _text(rng)
            one, other = " ".join(words), " ".join(_changed(words, changes, rng))
            pairs = zip(band_hashes(_document(one), 0.8), band_hashes(_document(other), 0.8), strict=True)
            shared += any(first == second for first, second in pairs)
            expected += 1 - (1 - _jaccard(one, other) ** rows) ** bands
        assert shared == pytest.approx(expected, abs=4 * 60**0.5 / 2)


def test_the_first_of_a_group_stays_whatever_file_the_others_are_in() -> None:
    rng = np.random.default_rng(1)
    texts = [_text(rng) for _ in range(4)]
    near = [" ".join(_changed(texts[0], 1, rng)) for _ in range(3)]
    first, *others = [" ".join(words) for words in texts]
    reject = Reject("f", 1, "empty_text", "")
    files = [
        [_document(first), reject, _document(others[0])],
        [reject, _document(near[0]), _document(others[1]), _document(others[0])],
        [],
        [_document(others[2]), _document(near[1])],
    ]
    assert _mark(files) == [[], [0, 2], [], [1]]


def test_the_answer_equals_brute_force_over_all_pairs_of_band_hashes() -> None:
    rng = np.random.default_rng(2)
    base = [_text(rng, 40) for _ in range(12)]
    documents = [
        _document(
            " ".join(_changed(base[rng.integers(12)], int(rng.integers(0, 6)), rng)), str(rng.choice(["de", "sw"]))
        )
        for _ in range(80)
    ]
    hashes = [set(enumerate(band_hashes(document, 0.8))) for document in documents]
    expected = [number for number in range(80) if any(hashes[number] & hashes[before] for before in range(number))]
    files = [documents[:30], documents[30:31], documents[31:]]
    found = _mark(files)
    assert found == mark_all_at_once(files, 0.8) == _mark(files, parts=8)
    starts = [0, 30, 31]
    assert [start + n for start, numbers in zip(starts, found, strict=True) for n in numbers] == expected
    assert 10 < len(expected) < 70


def test_equal_texts_of_two_languages_are_no_duplicates() -> None:
    assert _mark([[_document("ein und derselbe Text", "de"), _document("ein und derselbe Text", "nds")]]) == [[]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Guten  Morgen,\nWelt", "guten morgen, welt"),
        ("日本語の文章です。", "日本語の文章です。 "),
        ("ab", "AB"),
        ("abcd", "abcd"),
    ],
)
def test_case_and_white_space_do_not_count_and_short_texts_are_compared_whole(one: str, other: str) -> None:
    assert _mark([[_document(one), _document(other), _document("etwas ganz anderes")]]) == [[1]]


def test_long_documents_are_compared_by_their_beginning_in_bounded_memory() -> None:
    long = "".join(chr(0x4E00 + number % 20_000) for number in range(100_000))
    assert band_hashes(_document(long), 0.8) == band_hashes(_document(long + "x" * 10**6), 0.8)


def test_nothing_to_compare_is_nothing_marked() -> None:
    assert _mark([]) == []
    assert _mark([[], []]) == [[], []]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_a_band_is_shared_more_often_the_more_alike_two_documents_are(threshold: float) -> None:
    bands, rows = band_shape(threshold)
    assert bands >= 2 and bands * rows <= 128
    chances = [1 - (1 - s**rows) ** bands for s in (threshold - 0.2, threshold, min(1.0, threshold + 0.15))]
    assert all(low < high for low, high in itertools.pairwise(chances)) and chances[0] < 0.15 and chances[2] > 0.8
