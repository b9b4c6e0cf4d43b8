"""How often to save: what a checkpoint costs against what an interruption costs. All times in seconds.

Interruptions come at random, on average every ``between`` seconds (a Poisson process). A save holds training up for
``stall``. Sources: J. W. Young, CACM 17 (1974) 530; J. T. Daly, Future Generation Computer Systems 22 (2006) 303.
"""

from __future__ import annotations

import math


def young_interval(stall: float, between: float) -> float:
    """First-order optimum of the training time between two saves."""
    return math.sqrt(2 * stall * between)


def daly_interval(stall: float, between: float) -> float:
    """Higher-order optimum of the training time between two saves; ``between`` where a save costs as much as that."""
    if stall >= 2 * between:
        return between
    ratio = stall / (2 * between)
    return young_interval(stall, between) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall


def slowdown(interval: float, stall: float, lost: float, between: float) -> float:
    """Expected time with saves and interruptions as a multiple of the time without either (Daly, equation 20); infinite
    where it is more than a float can hold.

    lost: what an interruption costs beside the steps since the last save was begun: the time until training goes on
    elsewhere, and, as saves are written beside training, the time until a save counts.
    """
    try:
        # expm1, as exp(x) - 1 loses its digits where interruptions are rare and x is nearly 0.
        return between * math.exp(lost / between) * math.expm1((interval + stall) / between) / interval
    except OverflowError:
        return math.inf
