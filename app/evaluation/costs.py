"""What one expert, the ensemble and dense take: bytes kept, bytes held while running, time of a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.evaluation.systems import ENSEMBLE

EXPERT = "expert"
_BYTES_OF_A_NUMBER = 4
"""Models are run in float32 weights here (``load_model``)."""


@dataclass(frozen=True)
class ModelCost:
    """One model as it is recorded. stored: bytes of its final folder. scored: tokens and seconds of its scoring."""

    parameters: int
    stored: int
    scored: tuple[int, float]


@dataclass(frozen=True)
class SystemCost:
    """A system. models: held at once; passes: of models for a token on average; memory: bytes of the weights held.

    scoring, writing: seconds for a token of known text, and of text that is generated; None where it is not recorded.
    """

    name: str
    models: int
    passes: float
    stored: int
    memory: int
    scoring: float | None
    writing: float | None


def system_costs(
    models: Mapping[str, ModelCost],
    experts: Sequence[str],
    passes: Mapping[str, float],
    written: Mapping[str, float],
) -> list[SystemCost]:
    """Single models as they are, ``expert`` as the mean of the experts, ``ensemble`` with all of them.

    passes: of models for a token, for ``ensemble``. written: system -> seconds for a token of generated text. Scoring
    runs every expert on all text, so the ensemble's time is the sum of theirs.
    """
    mine = [models[name] for name in experts]
    rows = [_row(name, [models[name]], 1.0, written) for name in models if name not in experts]
    total = _row(ENSEMBLE, mine, passes.get(ENSEMBLE, float(len(mine))), written)
    scoring = None if total.scoring is None else total.scoring / len(mine)
    shares = total.stored // len(mine), total.memory // len(mine)
    return [*rows, SystemCost(EXPERT, 1, 1.0, *shares, scoring, written.get(EXPERT)), total]


def _row(name: str, held: Sequence[ModelCost], passes: float, written: Mapping[str, float]) -> SystemCost:
    times = [_each(model.scored) for model in held]
    return SystemCost(
        name,
        len(held),
        passes,
        sum(model.stored for model in held),
        sum(model.parameters for model in held) * _BYTES_OF_A_NUMBER,
        # One model without a time leaves the sum unknown: without it the system would look faster.
        None if None in times else sum(time for time in times if time is not None),
        written.get(name),
    )


def _each(measured: tuple[int, float]) -> float | None:
    tokens, seconds = measured
    return seconds / tokens if tokens else None
