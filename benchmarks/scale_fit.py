"""What growing sizes say: the exponent of a stage's work, whether memory stands still, and the verdicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

WORST_EXPONENT = 1.05
WORKER_BYTES = 2 << 30
_MORE, _MORE_BYTES, _FACTOR = 0.05, 32 << 20, 4


def exponent(seconds: Mapping[int, float], base: float) -> float | None:
    """The slope of log(seconds - base) over log(documents), by least squares over all sizes.

    seconds: CPU seconds by number of documents. base: those of a run that is hardly more than the start; sizes that
    took no more have no logarithm and are left out. None where there is nothing to fit: fewer than two sizes, or a
    largest one that took less than twice as much: such a stage has hardly any work that could follow the documents.
    """
    more = {size: value - base for size, value in seconds.items() if value > base}
    if len(more) < 2 or seconds[max(seconds)] < 2 * base:
        return None
    x, y = np.log(list(more)), np.log(list(more.values()))
    x -= x.mean()
    return float((x * y).sum() / (x * x).sum())


def is_linear(seconds: Mapping[int, float], base: float) -> bool:
    """Whether work grows no faster than the documents: by ``exponent``, else since even the largest size is near base.

    Where nothing can be fitted and the largest size took twice ``base`` or more, this is False: nothing is known.
    """
    found = exponent(seconds, base)
    return seconds[max(seconds)] < 2 * base if found is None else found <= WORST_EXPONENT


def is_bounded(peaks: Mapping[int, int]) -> bool:
    """Whether a peak (bytes by number of documents) grows by at most 5 % or 32 MiB, what is more, for each factor of 4
    from each size to the next; a smaller step has its share by logarithm. One size alone shows nothing: False.
    """
    steps = list(pairwise(sorted(peaks.items())))
    return bool(steps) and all(
        after - before <= max(_MORE * before, _MORE_BYTES) * math.log(larger / smaller, _FACTOR)
        for (smaller, before), (larger, after) in steps
    )
