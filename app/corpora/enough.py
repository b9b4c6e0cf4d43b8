"""Which files of a corpus to read next, so that no language is read far beyond what training can use.

Files are read in rounds, each decided from what the rounds before it have brought; so the files that are read are a
function of the corpus and of what is needed, whatever the number of workers and however often a job is run again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.corpora.base import SourceFile

MOST_GROWTH = 4
"""A round reads at most so many times the files of a language that were read before it: part of the shards' key."""


def needed_bytes(weights: Mapping[str, float], budget_tokens: int, epochs: float, bytes_per_token: float) -> int:
    """Training text that the language with the largest weight needs at least, UTF-8 bytes.

    weights: share of each language in the budget, of any sum. ``epochs``: how often its text may be seen.
    """
    return math.ceil(budget_tokens * max(weights.values()) / sum(weights.values()) / epochs * bytes_per_token)


def next_files(files: Sequence[SourceFile], needed: int, read: Mapping[int, Mapping[str, int]]) -> list[int]:
    """Numbers of the files of the next round, ascending; none when every language has enough or no more files.

    needed: training text of each language, bytes. ``read``: of each file of the rounds before, its training text by
    language. The first round is one file of each language, and every file that is held out or whose language only its
    rows tell. Each later one is as many files of a language as it still lacks by the files before, at most four times
    as many as they are.
    """
    if not read:
        # Backwards, so that the first file of each language is the one that stays.
        first = {file.lang: number for number, file in reversed(list(enumerate(files))) if _is_counted(file)}
        return sorted([*first.values(), *(number for number, file in enumerate(files) if not _is_counted(file))])
    waiting: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        if file.lang is not None and number not in read and _is_counted(file):
            waiting.setdefault(file.lang, []).append(number)
    chosen = []
    for lang, numbers in waiting.items():
        held = sum(found.get(lang, 0) for found in read.values())
        before = sum(file.lang == lang and _is_counted(file) and n in read for n, file in enumerate(files))
        lacking = needed - held
        if lacking > 0:
            # Where nothing was found yet nothing can be estimated: as many files again are read. Where little was, the
            # files before may be odd ones, and what follows from them would be the whole language.
            estimated = math.ceil(lacking * before / held) if held else before
            chosen += numbers[: min(estimated, MOST_GROWTH * before)]
    return sorted(chosen)


def expected_files(files: Sequence[SourceFile], needed: int, texts: Sequence[int]) -> list[int]:
    """Numbers of the files that will be read in all rounds, ascending, if each holds so much text of its language.

    needed: training text of each language, bytes. ``texts``: of each file, bytes.
    """
    read: dict[int, dict[str, int]] = {}
    while numbers := next_files(files, needed, read):
        read |= {number: {files[number].lang or "": texts[number]} for number in numbers if _is_counted(files[number])}
        # Kept too: were `read` to stay empty, the first round would come again for ever.
        read |= {number: {} for number in numbers if not _is_counted(files[number])}
    return sorted(read)


def _is_counted(file: SourceFile) -> bool:
    return file.lang is not None and file.split != "validation"
