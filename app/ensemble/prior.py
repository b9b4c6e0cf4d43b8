"""The prior of the running posterior, fitted by EM: how often each expert is the one that a text of a kind wants.

A text is taken as drawn from one expert, which was drawn from the prior: p(x) = sum_e pi_e p_e(x). EM raises the
likelihood of the texts in every round; its fixed point is the prior under which they are most likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.core.errors import ConfigError
from app.core.records import FloatArray


@dataclass(frozen=True)
class FittedPrior:
    """prior: (k,), sums to 1. objective: nats before each round and after the last; it never falls."""

    prior: FloatArray
    objective: tuple[float, ...]


def fit_prior(texts: FloatArray, spread: float = 1.0, most_rounds: int = 1000, least_gain: float = 1e-9) -> FittedPrior:
    """Fit the prior to texts of one kind, from equal weights. texts: (D, k) nats of each under each expert, D > 0.

    spread: texts' worth of weight given to all experts alike, so that none is ruled out that these few texts did not
    want; 0 for none. Ends when a round gains less than ``least_gain`` nats. Raises ConfigError for a spread below 0.
    """
    if spread < 0:
        raise ConfigError(f"the prior's spread is {spread}; give a number of texts of at least 0, e.g. 1")
    number, k = texts.shape
    top = texts.max(axis=1, keepdims=True)
    # The exp of a whole text's nats would be 0; relative to its best expert its shares are the same.
    likely = np.exp(texts - top)
    prior = np.full(k, 1.0 / k)
    objective = [_objective(prior, likely, top, spread)]
    for _ in range(most_rounds):
        joint = likely * prior
        owed = joint / joint.sum(axis=1, keepdims=True)
        # The mode under a Dirichlet of spread / k + 1 each; a prior of 0 could never grow again.
        prior = (owed.sum(axis=0) + spread / k) / (number + spread)
        objective.append(_objective(prior, likely, top, spread))
        if objective[-1] - objective[-2] < least_gain:
            break
    return FittedPrior(prior, tuple(objective))


def _objective(prior: FloatArray, likely: FloatArray, top: FloatArray, spread: float) -> float:
    """Nats of the texts under the prior, and of the prior under the spread (a Dirichlet distribution)."""
    spread_over = spread / len(prior) * np.log(prior).sum() if spread else 0.0
    return float((np.log(likely @ prior) + top[:, 0]).sum() + spread_over)
