"""What tells TF-IDF clusters apart, in terms a person can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from app.allocation.base import Allocator
from app.allocation.terms import Spell
from app.allocation.tfidf import TfidfAllocator
from app.core.records import DocumentBatch

SPACE = "·"
_DOCUMENTS_PER_EXPERT = 100
_FIRST_EAST_ASIAN = "⺀"
"""From here on (CJK radicals) two characters may be a word."""


def top_terms(allocator: Allocator, documents: DocumentBatch, spell: Spell, count: int = 12) -> dict[str, list[str]]:
    """Expert -> the terms that draw its documents to its centres most, strongest first; white space is a middle dot.

    spell: text of token ids, asked where tokens are the terms. A term's pull is how often it stands in the expert's
    documents times how much nearer it brings a text to the mean of the expert's centres than to the mean of all. Terms
    of one or two letters or across words are left out, and so is one that is part of a stronger one or holds it:
    n-grams overlap. Some hundred documents are read. Empty for an allocator without terms.
    """
    if not isinstance(allocator, TfidfAllocator):
        return {}
    # Every n-th document, not the first ones: documents of one language stand together.
    step = max(1, len(documents) // (_DOCUMENTS_PER_EXPERT * len(allocator.experts)))
    chosen = documents.rows(0, len(documents), step)
    owners = allocator.assign(chosen)
    means = np.stack([allocator.centres[allocator.owners == e].mean(axis=0) for e in range(len(allocator.experts))])
    # (terms, k): a text's inner product with a centre is a sum over its terms, so each has a share of its own.
    nearer = allocator.projection @ (means - means.mean(axis=0)).T
    found: dict[str, list[str]] = {}
    for place, expert in enumerate(allocator.experts):
        # Counted as written: in a hashed vocabulary different terms may share an index.
        counts: Counter[str] = Counter()
        index: dict[str, int] = {}
        for row in np.flatnonzero(owners == place).tolist():
            spelled, terms = allocator.analyzer.spelled(chosen, row, spell)
            counts.update(spelled)
            index.update(zip(spelled, terms.tolist(), strict=True))
        pull = {term: many * float(nearer[index[term], place]) for term, many in counts.items() if is_readable(term)}
        drawing = sorted((term for term in pull if pull[term] > 0), key=lambda term: (-pull[term], term))
        found[expert] = without_overlaps(drawing, count)
    return found


def is_readable(term: str) -> bool:
    """Whether a term tells a reader anything: within one word, three characters or more, two in East Asian scripts."""
    bare = term.strip()
    long_enough = len(bare) >= (2 if bare >= _FIRST_EAST_ASIAN else 3)
    return long_enough and any(map(str.isalpha, bare)) and not any(map(str.isspace, bare))


def without_overlaps(terms: Iterable[str], count: int) -> list[str]:
    """The first ``count`` terms of which none holds, or is part of, an earlier one, but for the white space around."""
    kept: list[str] = []
    for term in terms:
        if len(kept) == count:
            break
        if not any(term.strip() in other or other.strip() in term for other in kept):
            kept.append(term)
    return ["".join(SPACE if character.isspace() else character for character in term) for term in kept]
