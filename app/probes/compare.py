"""From what was measured of each language to distances between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from app.core.records import FloatArray

Probe = Literal["deviation", "gradient", "representation", "transfer"]
_NUMBERS_AT_ONCE = 1 << 18
"""Of each vector: they may be mapped files, longer than memory."""
PROBES: tuple[Probe, ...] = get_args(Probe)


def probe_distances(probe: str, measured: Sequence[FloatArray]) -> FloatArray:
    """(n, n) symmetric distances of n languages.

    deviation, gradient, representation: one vector for each language; 1 - cosine, for representations around their
    mean. transfer: measured[i] is the (n,) change of loss on each language after a short training on language
    i; the distance of two is the mean of both directions, so that groups are made of languages that help each other.
    """
    if probe == "transfer":
        table = np.stack([np.asarray(row, dtype=np.float64) for row in measured])
        mutual: FloatArray = (table + table.T) / 2
        # Training lowers a language's own loss, so its distance to itself would be below 0.
        np.fill_diagonal(mutual, 0.0)
        return mutual
    products = np.zeros((len(measured), len(measured)))
    for start in range(0, len(measured[0]), _NUMBERS_AT_ONCE):
        part = np.array([row[start : start + _NUMBERS_AT_ONCE] for row in measured], dtype=np.float64)
        if probe == "representation":
            # A part that all hidden states share would make every cosine nearly 1.
            part -= part.mean(axis=0)
        products += part @ part.T
    norms = np.sqrt(np.diag(products))
    # A vector of zeros stays one, at distance 1 from all, instead of becoming NaN.
    safe = np.where(norms > 0, norms, 1.0)
    distances: FloatArray = 1.0 - products / np.outer(safe, safe)
    # Rounding, or a vector of zeros, would leave a language at a distance from itself.
    np.fill_diagonal(distances, 0.0)
    return distances
