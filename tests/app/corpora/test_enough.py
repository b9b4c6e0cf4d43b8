from __future__ import annotations

from app.corpora.base import SourceFile
from app.corpora.enough import expected_files, needed_bytes, next_files

FILES = [
    *(SourceFile(f"de-{i}", "de") for i in range(8)),
    *(SourceFile(f"sw-{i}", "sw", "train") for i in range(2)),
    SourceFile("de-held", "de", "validation"),
    SourceFile("mixed"),
]


def rounds(needed: int, bytes_of: dict[str, list[int]]) -> list[list[int]]:
    """All rounds, where file i of a language holds what ``bytes_of`` says."""
    read: dict[int, dict[str, int]] = {}
    made = []
    while numbers := next_files(FILES, needed, read):
        made.append(numbers)
        for number in numbers:
            lang, _, place = FILES[number].uri.partition("-")
            read[number] = {lang: bytes_of[lang][int(place)]} if place.isdigit() else {}
    return made


def test_the_first_round_is_a_file_of_each_language_and_all_that_cannot_be_counted() -> None:
    assert rounds(1, {"de": [10] * 8, "sw": [10] * 2}) == [[0, 8, 10, 11]]


def test_later_rounds_bring_what_is_lacking_and_stop_at_the_last_file() -> None:
    # de: 10 of 45 by one file: 3.5, so four more, which hold only 5 each: 15 lacking by six a file, so three more.
    assert rounds(45, {"de": [10, 5, 5, 5, 5, 9, 9, 9], "sw": [20, 20]}) == [[0, 8, 10, 11], [1, 2, 3, 4, 9], [5, 6, 7]]


def test_files_that_hold_nothing_are_doubled() -> None:
    assert rounds(5, {"de": [0, 0, 0, 5, 5, 5, 5, 5], "sw": [9, 9]}) == [[0, 8, 10, 11], [1], [2, 3]]


def test_a_poor_first_file_does_not_bring_the_whole_language_at_once() -> None:
    # 1 of 45 by one file would be 44 more; at most four times as many are read: 4, then 8 by 7.4 a file.
    assert rounds(45, {"de": [1, 9, 9, 9, 9, 9, 9, 9], "sw": [45, 0]}) == [[0, 8, 10, 11], [1, 2, 3, 4], [5, 6]]


def test_text_of_a_language_in_other_files_counts() -> None:
    assert next_files(FILES, 45, {0: {"de": 20}, 11: {"de": 25}, 8: {"sw": 45}, 10: {}}) == []


def test_what_is_needed_is_the_share_of_the_budget_over_the_epochs() -> None:
    assert needed_bytes({"de": 1.0, "sw": 3.0}, 4000, 4.0, 4.5) == 3375  # 3000 tokens, 750 of them new


def test_what_will_be_read_follows_from_what_the_files_are_expected_to_hold() -> None:
    texts = [10] * 8 + [20, 20] + [500, 500]  # held-out and mixed files count for no language
    assert expected_files(FILES, 45, texts) == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert expected_files(FILES, 1, texts) == [0, 8, 10, 11]
    assert expected_files(FILES, 1000, [0] * 12) == list(range(12))
