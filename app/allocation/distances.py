"""Typological distance between languages with missing features."""

from __future__ import annotations

import numpy as np

from app.core.records import FloatArray

_DECIMALS = 12


def informative(features: FloatArray) -> FloatArray:
    """Leave out features that are 0 for all, 1 for all, or unknown for all languages (lang2vec's
    ``minimal``).

    features: (n, f), NaN where unknown; an unknown value keeps a column, as in lang2vec. Returns (n, g), g <=
    f.
    """
    # Which features go depends on the languages that are compared, and with it the distance of a pair.
    dull = np.all(features == 0, axis=0) | np.all(features == 1, axis=0) | np.all(np.isnan(features), axis=0)
    return features[:, ~dull]


def typological_distances(features: FloatArray) -> FloatArray:
    """(n, n) distances 1 - sum(xy) / sqrt(sum(xx) sum(yy)), rounded to 12 decimals, zero on the diagonal.

    features: (n, f), NaN where unknown. sum(xy) runs over the features known in both languages, but sum(xx)
    and sum(yy) over all that are known in that language: missing data increases the distance. This is the
    published code's metric (arXiv 2401.10440), not the cosine over shared features. A language whose known
    features are all zero is at distance 1 of every other.
    """
    # (n, f): an unknown value adds nothing to a sum of products, so sum(xy) needs no mask of its own.
    known = np.nan_to_num(features, nan=0.0)
    squares = (known * known).sum(axis=1)
    scale = np.sqrt(np.outer(squares, squares))
    similarity = np.divide(known @ known.T, scale, out=np.zeros_like(scale), where=scale > 0)
    distances: FloatArray = np.round(1.0 - similarity, _DECIMALS)
    # A language of zeros alone would be at distance 1 of itself.
    np.fill_diagonal(distances, 0.0)
    return distances
