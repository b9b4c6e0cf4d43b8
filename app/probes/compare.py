"""From what was measured of each language to distances between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from app.core.records import FloatArray

Probe = Literal["deviation", "gradient", "representation", "transfer"]
PROBES: tuple[Probe, ...] = get_args(Probe)


def probe_distances(probe: str, measured: Sequence[FloatArray]) -> FloatArray:
    """(n, n) symmetric distances of n languages.

    deviation, gradient, representation: one vector for each language; 1 - cosine, for representations around their
    mean. transfer: measured[i] is the (n,) change of loss on each language after a short training on language
    i; the distance of two is the mean of both directions, so that groups are made of languages that help each other.
    """
    table = np.stack([np.asarray(row, dtype=np.float64) for row in measured])
    if probe == "transfer":
        mutual: FloatArray = (table + table.T) / 2
        # Training lowers a language's own loss, so its distance to itself would be below 0.
        np.fill_diagonal(mutual, 0.0)
        return mutual
    if probe == "representation":
        # A part that all hidden states share would make every cosine nearly 1.
        table = table - table.mean(axis=0)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    # A vector of zeros stays one, at distance 1 from all, instead of becoming NaN.
    unit = table / np.where(norms > 0, norms, 1.0)
    distances: FloatArray = 1.0 - unit @ unit.T
    # Rounding, or a vector of zeros, would leave a language at a distance from itself.
    np.fill_diagonal(distances, 0.0)
    return distances
