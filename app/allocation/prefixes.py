"""Distances of every prefix of a document: what the ensemble's weights at each token are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from app.allocation.base import Allocator
from app.core.records import FloatArray


@runtime_checkable
class PrefixAllocator(Protocol):
    """An allocator that may know a faster way than growing a context."""

    def prefix_distances(self, lang: str | None, pieces: Sequence[str]) -> FloatArray | None:
        """(len(pieces) + 1, k), or None."""


def prefix_distances(allocator: Allocator, lang: str | None, pieces: Sequence[str]) -> FloatArray:
    """(len(pieces) + 1, k): row t is the distance of ``pieces[:t]`` joined, as ``context(lang)`` gives it.

    pieces: the text of each token. Raises AllocationError if the allocator does not know the language.
    """
    if isinstance(allocator, PrefixAllocator):
        rows = allocator.prefix_distances(lang, pieces)
        if rows is not None:
            return rows
    state = allocator.context(lang)
    grown = [state.distances()]
    for piece in pieces:
        state.extend(piece)
        grown.append(state.distances())
    return np.stack(grown)
