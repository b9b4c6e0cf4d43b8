"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "wsd"]

_WSD_DECAY_FRACTION = 0.2


def learning_rate_factor(
    schedule: Schedule, step: int, num_steps: int, warmup_fraction: float, final_fraction: float
) -> float:
    """Share of the peak learning rate that step ``step`` (0-based) of ``num_steps`` uses, in (0, 1].

    Warm-up rises linearly and reaches the peak at its last step. Then: ``constant``; ``linear`` and ``cosine`` fall
    to ``final_fraction``, reached at the last step; ``wsd`` stays at the peak and falls linearly over the last fifth.
    """
    warmup = round(num_steps * warmup_fraction)
    if step < warmup:
        # From 1 / warmup: with a rate of 0 the first step would do nothing.
        return (step + 1) / warmup
    # From 0 to 1 at the last step; warm-up may leave a single one.
    done = (step - warmup) / max(1, num_steps - 1 - warmup)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            fall = done
        case "cosine":
            fall = (1 - math.cos(math.pi * done)) / 2
        case "wsd":
            fall = max(0.0, (done - (1 - _WSD_DECAY_FRACTION)) / _WSD_DECAY_FRACTION)
    return 1.0 - (1.0 - final_fraction) * fall
