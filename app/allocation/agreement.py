"""Whether the router finds the experts that hold a language: measured on text that nothing was fitted on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

log = logging.getLogger(__name__)

LEAST = 0.9
"""Below this a language is named in a warning."""


def owner_agreement(held: Mapping[str, Sequence[int]], nearest: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Language -> share of its held-out documents to which its owner is the nearest expert.

    held: training documents of each language by expert; the owner is the expert that holds most (of equal ones the
    first). nearest: held-out documents of each language by the expert nearest to them; a language with none is left
    out.
    """
    return {lang: counts[int(np.argmax(held[lang]))] / sum(counts) for lang, counts in nearest.items() if sum(counts)}


def warn_of_low_agreement(agreement: Mapping[str, float], held: Mapping[str, Sequence[int]]) -> None:
    """Name the languages whose owner is the nearest expert to less than 0.9 of their held-out documents."""
    low = {lang: share for lang, share in agreement.items() if share < LEAST}
    if low:
        named = ", ".join(
            f"{lang} {share:.2f} (its owner holds {_most(held[lang]):.2f})" for lang, share in low.items()
        )
        log.warning(
            "allocate: the nearest expert is the language's owner for too few held-out documents of %s; those languages"
            " are divided among experts or mistaken for others: lower allocation.k, or use weighting posterior",
            named,
        )


def _most(held: Sequence[int]) -> float:
    return max(held) / max(1, sum(held))
