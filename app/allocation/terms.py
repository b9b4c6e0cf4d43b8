"""Documents to term indices: the seed's tokens, hashed character n-grams (every script), or the paper's words.

An analyzer counts the terms of whole documents; its stream tells those of a document that arrives in pieces.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from app.allocation.base import Column
from app.core.records import DocumentBatch, IntArray, JsonObject

_ORDERS = 4
"""Longest n-gram, characters."""
_PLANE = 0xFFFF
# A rolling hash modulo 2**64: odd factors lose nothing, the first is 2**64 over the golden ratio.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_NUMBER = "#NUMBER"
_WORD = re.compile(r"\w+")
# Not $, which also matches before a line break at the end: the word would count as unfinished.
_OPEN_WORD = re.compile(r"\w+\Z")
_NO_TERMS: IntArray = np.empty(0, dtype=np.int64)

_SPELLED = 2000
"""Tokens or characters of a document that are spelled."""

Codes = NDArray[np.uint64]
Spell = Callable[[Sequence[int]], str]


class TermStream(Protocol):
    """Terms of a document that arrives in pieces."""

    def push(self, text: str, tokens: Sequence[int]) -> IntArray:
        """Terms that are complete with this piece, each reported once. tokens: the ids that the text is made of."""

    def pending(self) -> IntArray:
        """Terms of the unfinished end, as if the document ended here."""


class Analyzer(Protocol):
    """Documents to term indices below ``size``."""

    @property
    def size(self) -> int:
        """Number of different terms."""

    @property
    def reads(self) -> Column:
        """The column of a batch that holds the documents for this analyzer."""

    def counts(self, batch: DocumentBatch) -> sparse.csr_matrix:
        """(n, size) how often each term stands in each document; entries of a row are sorted, so that sums over them
        do not depend on the batch.
        """

    def spelled(self, batch: DocumentBatch, row: int, spell: Spell) -> tuple[list[str], IntArray]:
        """The terms of one document's beginning as they are written, and their indices. spell: text of token ids."""

    def stream(self) -> TermStream:
        """The start of a document."""

    def describe(self) -> JsonObject:
        """What ``restore_analyzer`` needs."""


@dataclass(frozen=True)
class TokenAnalyzer:
    """The seed's token ids: what the model sees, in every script; no text is read."""

    kind: ClassVar[str] = "tokens"
    ids: tuple[int, ...]
    """Ids that are terms, ascending; all others are passed over."""

    @property
    def size(self) -> int:
        """Number of ids that are terms."""
        return len(self.ids)

    @property
    def reads(self) -> Column:
        """``tokens``."""
        return "tokens"

    def places(self, tokens: IntArray) -> IntArray:
        """Term index of each token, -1 where it is none."""
        # The table ends with -1, to which every larger id is led.
        places: IntArray = self._table[np.minimum(tokens, len(self._table) - 1)]
        return places

    def counts(self, batch: DocumentBatch) -> sparse.csr_matrix:
        """See ``Analyzer``."""
        places = self.places(np.concatenate([_NO_TERMS, *batch.tokens]))
        known = np.flatnonzero(places >= 0)
        ends = np.cumsum([0, *(len(tokens) for tokens in batch.tokens)])
        # Ends among all tokens become ends among those that are terms.
        return _count(places[known], np.searchsorted(known, ends), self.size)

    def spelled(self, batch: DocumentBatch, row: int, spell: Spell) -> tuple[list[str], IntArray]:
        """See ``Analyzer``."""
        tokens = batch.tokens[row][:_SPELLED]
        places = self.places(tokens)
        return [spell([token]) for token in tokens[places >= 0].tolist()], places[places >= 0]

    def stream(self) -> _TokenStream:
        """A stream at the start of a document."""
        return _TokenStream(self)

    def describe(self) -> JsonObject:
        """Kind and ids."""
        return {"kind": self.kind, "ids": list(self.ids)}

    @functools.cached_property
    def _table(self) -> IntArray:
        table = np.full(max(self.ids, default=-1) + 2, -1, dtype=np.int64)
        table[list(self.ids)] = np.arange(len(self.ids))
        return table


class _TokenStream:
    def __init__(self, analyzer: TokenAnalyzer) -> None:
        self._analyzer = analyzer

    def push(self, text: str, tokens: Sequence[int]) -> IntArray:
        places = self._analyzer.places(np.asarray(tokens, dtype=np.int64))
        return places[places >= 0]

    def pending(self) -> IntArray:
        return _NO_TERMS


@dataclass(frozen=True)
class CharAnalyzer:
    """Character n-grams of 1 to 4 characters, case-folded, hashed into ``size`` indices; no vocabulary is
    kept.

    Digits count as one character class, white space as another. Case folding is character by character, so a
    text may be cut anywhere.
    """

    kind: ClassVar[str] = "char"
    size: int

    @property
    def reads(self) -> Column:
        """``texts``."""
        return "texts"

    def counts(self, batch: DocumentBatch) -> sparse.csr_matrix:
        """See ``Analyzer``."""
        found = [self.terms(text) for text in batch.texts]
        ends = np.cumsum([0, *(len(terms) for terms in found)])
        return _count(np.concatenate([_NO_TERMS, *found]), ends, self.size)

    def terms(self, text: str) -> IntArray:
        """Indices of all n-grams, with repetition; empty only for the empty text."""
        return np.concatenate(self.terms_by_order(_codes(text)))

    def spelled(self, batch: DocumentBatch, row: int, spell: Spell) -> tuple[list[str], IntArray]:
        """All n-grams, case-folded: single characters first, then pairs, and so on."""
        text = batch.texts[row][:_SPELLED]
        # In the order of terms_by_order, since the two are paired one by one.
        folded = text.casefold()
        orders = range(1, _ORDERS + 1)
        written = [folded[start : start + n] for n in orders for start in range(len(folded) - n + 1)]
        return written, self.terms(text)

    def terms_by_order(self, codes: Codes) -> list[IntArray]:
        """For n = 1..4 the indices of the n-grams in the order of their first character."""
        found: list[IntArray] = []
        hashes = codes * _STEP
        for order in range(1, _ORDERS + 1):
            if order > 1:
                # The hash of an n-gram goes on from that of its first n - 1 characters.
                hashes = hashes[:-1] * _STEP + codes[order - 1 :]
            # The low bits of a product depend on low bits alone, so the high half is taken, and scaled to the size.
            found.append((((hashes * _MIX >> _HALF) * np.uint64(self.size)) >> _HALF).astype(np.int64))
        return found

    def stream(self) -> _CharStream:
        """A stream at the start of a text."""
        return _CharStream(self)

    def terms_by_piece(self, pieces: Sequence[str]) -> tuple[IntArray, IntArray]:
        """Terms of the joined pieces and, for each term, the piece in which it ends; both (terms,)."""
        codes = [_codes(piece) for piece in pieces]
        joined = np.concatenate([np.empty(0, dtype=np.uint64), *codes])
        piece_of = np.repeat(np.arange(len(codes), dtype=np.int64), [len(part) for part in codes])
        by_order = self.terms_by_order(joined)
        # An n-gram ends n - 1 characters after it begins.
        ends = [piece_of[order:] for order in range(len(by_order))]
        return np.concatenate(by_order), np.concatenate(ends)

    def describe(self) -> JsonObject:
        """Kind and size."""
        return {"kind": self.kind, "size": self.size}


class _CharStream:
    def __init__(self, analyzer: CharAnalyzer) -> None:
        self._analyzer = analyzer
        self._tail = np.empty(0, dtype=np.uint64)

    def push(self, text: str, tokens: Sequence[int]) -> IntArray:
        if not text:
            return _NO_TERMS
        known = len(self._tail)
        codes = np.concatenate([self._tail, _codes(text)])
        # As many characters as a new n-gram can begin before this piece.
        self._tail = codes[-(_ORDERS - 1) :]
        by_order = self._analyzer.terms_by_order(codes)
        # Those that end within the tail were told with an earlier piece.
        return np.concatenate([found[max(0, known - order) :] for order, found in enumerate(by_order)])

    def pending(self) -> IntArray:
        return _NO_TERMS


@dataclass(frozen=True)
class PaperAnalyzer:
    """Words of two or more characters, lower-cased, numbers as one term, English stop words removed.

    As published, except that a word is lower-cased after it is found. **Finds hardly a word in Chinese and
    Japanese and splits Hindi at vowel signs**; for comparison only. Source: arXiv 2303.14177 and its code.
    """

    kind: ClassVar[str] = "paper"
    vocabulary: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of words."""
        return len(self.vocabulary)

    @property
    def reads(self) -> Column:
        """``texts``."""
        return "texts"

    def counts(self, batch: DocumentBatch) -> sparse.csr_matrix:
        """See ``Analyzer``."""
        found = [self.terms(text) for text in batch.texts]
        ends = np.cumsum([0, *(len(terms) for terms in found)])
        return _count(np.concatenate([_NO_TERMS, *found]), ends, self.size)

    def terms(self, text: str) -> IntArray:
        """Indices of the known words, with repetition."""
        index = self._index
        return np.array([index[word] for word in paper_words(text) if word in index], dtype=np.int64)

    def spelled(self, batch: DocumentBatch, row: int, spell: Spell) -> tuple[list[str], IntArray]:
        """The known words."""
        text = batch.texts[row][:_SPELLED]
        return [word for word in paper_words(text) if word in self._index], self.terms(text)

    def stream(self) -> _PaperStream:
        """A stream at the start of a text."""
        return _PaperStream(self)

    def describe(self) -> JsonObject:
        """Kind and vocabulary."""
        return {"kind": self.kind, "vocabulary": list(self.vocabulary)}

    @functools.cached_property
    def _index(self) -> Mapping[str, int]:
        return {word: index for index, word in enumerate(self.vocabulary)}


class _PaperStream:
    def __init__(self, analyzer: PaperAnalyzer) -> None:
        self._analyzer = analyzer
        self._open = ""

    def push(self, text: str, tokens: Sequence[int]) -> IntArray:
        joined = self._open + text
        # The next piece may go on with the last word.
        unfinished = _OPEN_WORD.search(joined)
        cut = unfinished.start() if unfinished else len(joined)
        self._open = joined[cut:]
        return self._analyzer.terms(joined[:cut])

    def pending(self) -> IntArray:
        return self._analyzer.terms(self._open)


def paper_words(text: str) -> list[str]:
    """The paper's words of a text, in order; anything starting with a digit is ``#NUMBER``."""
    words = (_NUMBER if word[0].isdigit() else word.lower() for word in _WORD.findall(text) if len(word) > 1)
    return [word for word in words if word not in ENGLISH_STOP_WORDS]


def fit_paper_analyzer(texts: Iterable[str], max_features: int) -> PaperAnalyzer:
    """The ``max_features`` most frequent words of the texts (equal ones by spelling), sorted."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in paper_words(text):
            counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:max_features]
    return PaperAnalyzer(tuple(sorted(frequent)))


def fit_token_analyzer(documents: Iterable[IntArray], max_features: int) -> TokenAnalyzer:
    """The ids that stand in most documents, ``max_features`` of them (of equal ones the smaller)."""
    found = np.concatenate([_NO_TERMS, *(np.unique(tokens) for tokens in documents)])
    ids, documents_with = np.unique(found, return_counts=True)
    chosen = ids[np.argsort(-documents_with, kind="stable")[:max_features]]
    return TokenAnalyzer(tuple(np.sort(chosen).tolist()))


def restore_analyzer(described: JsonObject) -> Analyzer:
    """The inverse of an analyzer's ``describe``."""
    if described["kind"] == TokenAnalyzer.kind:
        ids = described["ids"]
        assert isinstance(ids, list)
        return TokenAnalyzer(tuple(int(token) for token in ids))
    if described["kind"] == CharAnalyzer.kind:
        size = described["size"]
        assert isinstance(size, int)
        return CharAnalyzer(size)
    vocabulary = described["vocabulary"]
    assert described["kind"] == PaperAnalyzer.kind and isinstance(vocabulary, list)
    return PaperAnalyzer(tuple(str(word) for word in vocabulary))


def _count(terms: IntArray, ends: IntArray, size: int) -> sparse.csr_matrix:
    """(n, size) counts of the terms of n documents that follow each other. ends: (n + 1,) where each begins and ends.

    To columns and back is two counting sorts, several times as fast as sorting each document.
    """
    counts = sparse.csr_matrix((np.ones(len(terms)), terms, ends), shape=(len(ends) - 1, size)).tocsc().tocsr()
    counts.sum_duplicates()
    return counts


def _codes(text: str) -> Codes:
    """Code points after case folding and joining of digits and of white space; beyond the BMP modulo 2^16."""
    # casefold() and not lower(), which writes a Greek sigma by its place in the word: a cut text would differ.
    # surrogatepass: text from JSON may hold halves of surrogate pairs, which a plain encode() refuses.
    raw = np.frombuffer(text.casefold().encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes: Codes = _classes()[raw & _PLANE]
    return codes


@functools.cache
def _classes() -> Codes:
    codes = np.arange(_PLANE + 1, dtype=np.uint64)
    for code in range(_PLANE + 1):
        character = chr(code)
        if character.isdigit():
            codes[code] = ord("0")
        elif character.isspace():
            codes[code] = ord(" ")
    return codes
