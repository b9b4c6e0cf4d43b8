from __future__ import annotations

import pytest

from app.evaluation.confusion import Confusion, as_counts, judge, mean_shares, words_of


def by_first_letter(text: str) -> str | None:
    """Russian where the first letter is, German where it is a Latin one."""
    letters = [character for character in text if character.isalpha()]
    return None if not letters else "ru" if letters[0] >= "А" else "de"


def test_words_are_runs_of_letters_with_their_marks() -> None:
    assert words_of("9 फ़रवरी: don't, 12. Jan") == ["फ़रवरी", "don", "t", "Jan"]


def test_lines_outputs_and_words_are_counted_by_hand() -> None:
    texts = [
        "Привет, Маша\nпонедельник",  # two right lines, three right words
        "понедельник Jan.\nMontag, den",  # a wrong line: 2 of 4 outputs pass; words 1 right, 3 wrong
        "Сегодня monday",  # passes, with a Latin word of more than three small letters
        "12. Ян",  # two letters: neither output nor line, one word
        "",
    ]
    found = judge(texts, "ru", by_first_letter, is_latin=False)
    assert found == Confusion(
        outputs=3,
        outputs_right=3,
        lines=5,
        lines_right=4,
        words=10,
        words_right=6,
        lined=3,
        passed=2,
        passed_words=2,
        clean=1,
    )
    assert found.shares == {"outputs": 1.0, "lines": 0.8, "words": 0.6, "lpr": pytest.approx(2 / 3), "wpr": 0.5}
    assert Confusion(**as_counts(found)) == found


def test_short_capital_and_mixed_latin_words_are_no_confusion() -> None:
    found = judge(["Сегодня, BBC Jan abc iPhone"], "ru", by_first_letter, is_latin=False)
    assert (found.passed, found.clean) == (1, 1)


def test_a_language_in_latin_letters_has_no_word_pass_rate() -> None:
    assert judge(["Montag, den zwölften"], "de", by_first_letter, is_latin=True).shares["wpr"] is None


def test_the_mean_is_over_languages_that_have_the_share() -> None:
    by_language = {
        "ru": Confusion(lined=2, passed=1, passed_words=1, clean=1),
        "de": Confusion(lined=100, passed=100),
        "ja": Confusion(),
    }
    means = mean_shares(by_language)
    assert means["lpr"] == pytest.approx(0.75) and means["wpr"] == 1.0 and means["words"] is None
