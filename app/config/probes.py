"""The section `probes`: how the seed is asked about each language before the corpus is cut."""

from __future__ import annotations

from app.config.fields import PositiveFloat, PositiveInt, Section


class ProbesConfig(Section):
    """Probes that some strategies look at (`parameter_deviation`, `gradient_similarity`, ...)."""

    steps: PositiveInt = 10
    """Optimizer steps of the short training on one language alone (`deviation`, `transfer`)."""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate of that training, constant."""
    rows: PositiveInt = 64
    """Training rows of each language that `gradient`, `representation` and the losses of `transfer` look at."""
