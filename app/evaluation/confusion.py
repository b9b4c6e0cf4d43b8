"""How much of what a model writes is in the language asked for: outputs, lines and words (arXiv 2406.20052).

The published line pass rate (LPR) is the share of outputs without a line in another language, the word pass rate (WPR)
the share of those without an English word. Published: lines of five words and more, words of an English dictionary, WPR
for languages of other scripts than the Latin one only. Here: lines of five letters and more, since small models write
short lines; and any word of more than three small Latin letters, so that no dictionary is needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

Identify = Callable[[str], str | None]
"""The language that a text is taken for; None where it cannot be told."""

LEAST_LETTERS = 5
"""Of a line or an output that is judged; of a word two will do."""
_LEAST_WORD = 2
# Small letters only: names and abbreviations in Latin letters belong to text of any script.
_LATIN_WORD = re.compile(r"[a-z]{4,}")


@dataclass(frozen=True)
class Confusion:
    """Counts over some outputs of one system in one language. What has too few letters to be judged is in none.

    outputs, lines, words: judged, and how many of them are ``right``: in the language asked for. passed: outputs, of
    those with a judged line, without a wrong line; clean: of these without a Latin word (``passed_words`` counts those
    that could have one: 0 for languages written in Latin letters).
    """

    outputs: int = 0
    outputs_right: int = 0
    lines: int = 0
    lines_right: int = 0
    words: int = 0
    words_right: int = 0
    lined: int = 0
    passed: int = 0
    passed_words: int = 0
    clean: int = 0

    def __add__(self, other: Confusion) -> Confusion:
        """The counts of both."""
        return Confusion(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def shares(self) -> dict[str, float | None]:
        """``outputs``, ``lines`` and ``words`` in the language, and ``lpr`` and ``wpr``; None of nothing."""
        pairs = {
            "outputs": (self.outputs_right, self.outputs),
            "lines": (self.lines_right, self.lines),
            "words": (self.words_right, self.words),
            "lpr": (self.passed, self.lined),
            "wpr": (self.clean, self.passed_words),
        }
        return {name: part / whole if whole else None for name, (part, whole) in pairs.items()}


def judge(texts: Sequence[str], lang: str, identify: Identify, is_latin: bool) -> Confusion:
    """Count over the outputs that were to be in ``lang``. is_latin: whether it is written in Latin letters."""
    total = Confusion()
    for text in texts:
        total += _judge_one(text, lang, identify, is_latin)
    return total


def _judge_one(text: str, lang: str, identify: Identify, is_latin: bool) -> Confusion:
    lines = [line for line in text.splitlines() if _letters(line) >= LEAST_LETTERS]
    right = [identify(line) == lang for line in lines]
    words = [word for word in words_of(text) if len(word) >= _LEAST_WORD]
    long_enough, passed = _letters(text) >= LEAST_LETTERS, bool(lines) and all(right)
    # Published for other scripts only: where all words are in Latin letters this would count every one.
    counted = passed and not is_latin
    return Confusion(
        outputs=int(long_enough),
        outputs_right=int(long_enough and identify(text) == lang),
        lines=len(lines),
        lines_right=sum(right),
        words=len(words),
        words_right=sum(identify(word) == lang for word in words),
        lined=int(bool(lines)),
        passed=int(passed),
        passed_words=int(counted),
        clean=int(counted and not any(_LATIN_WORD.fullmatch(word) for line in lines for word in words_of(line))),
    )


def words_of(text: str) -> list[str]:
    """Runs of letters with the marks on them: an Indic word is not cut at its vowel signs."""
    return "".join(character if _is_letter(character) else " " for character in text).split()


def mean_shares(by_language: Mapping[str, Confusion]) -> dict[str, float | None]:
    """The mean over languages of each share, of those that have it, as published."""
    found = [counts.shares for counts in by_language.values()]
    means: dict[str, float | None] = {}
    for name in Confusion().shares:
        known = [value for shares in found if (value := shares[name]) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def as_counts(confusion: Confusion) -> dict[str, int]:
    """For JSON; ``Confusion(**counts)`` is the inverse."""
    return asdict(confusion)


def _letters(text: str) -> int:
    return sum(map(_is_letter, text))


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"
