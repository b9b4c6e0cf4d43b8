"""Distances of every prefix of a document: what the ensemble's weights at each token are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from app.allocation.base import Allocator
from app.core.records import FloatArray, IntArray

PiecesOf: TypeAlias = Callable[[Sequence[int]], Sequence[str]]
"""Token ids -> the text that each adds."""


@runtime_checkable
class PrefixAllocator(Protocol):
    """An allocator that may know a faster way than growing a context."""

    def prefix_distances(self, lang: str | None, tokens: IntArray, pieces_of: PiecesOf) -> FloatArray | None:
        """(len(tokens) + 1, k), or None."""


def prefix_distances(allocator: Allocator, lang: str | None, tokens: IntArray, pieces_of: PiecesOf) -> FloatArray:
    """(len(tokens) + 1, k): row t is the distance of ``tokens[:t]``, as ``context(lang)`` gives it.

    pieces_of is asked only where the allocator reads text. Raises AllocationError if the allocator does not know the
    language.
    """
    # Looks for the method alone: allocators need not inherit from the protocol.
    if isinstance(allocator, PrefixAllocator):
        rows = allocator.prefix_distances(lang, tokens, pieces_of)
        if rows is not None:
            return rows
    state = allocator.context(lang)
    grown = [state.distances()]
    for token, piece in zip(tokens.tolist(), pieces_of(tokens.tolist()), strict=True):
        state.extend(piece, [token])
        grown.append(state.distances())
    return np.stack(grown)
