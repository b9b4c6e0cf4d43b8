"""How well a tokenizer covers a new language: tokens per byte beside those of the languages it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

WORTH_SAYING = 1.5
"""Times the median of the first languages."""


def badly_covered(new: Mapping[str, float], first: Mapping[str, float]) -> dict[str, float]:
    """New language -> its tokens per byte as a multiple of the first languages' median, where that is much.

    new, first: language -> tokens per UTF-8 byte.
    """
    if not first:
        return {}
    # Not the mean: one of the first languages may be covered badly itself.
    middle = median(first.values())
    found = {lang: value / middle for lang, value in new.items()}
    return {lang: times for lang, times in sorted(found.items()) if times >= WORTH_SAYING}
