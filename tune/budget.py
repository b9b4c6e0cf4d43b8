"""How quality changes with the budget for each k, and which k is best at a budget: a fit, with its uncertainty.

For each k: log(ppl / ppl(dense)) = a + b ln(tokens), by least squares over its trials. What is said of budgets above
the largest that was tried is extrapolation: nothing shows that the line goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.core.records import FloatArray, JsonObject, JsonValue
from app.core.seeding import generator
from tune.figures import LEAST

NEEDED = 3
"""Budgets for each k: two give a line that nothing could contradict."""
_BEYOND = (2, 4)
_DRAWS = 2000
_OF_95 = 2 * 1.959964
"""Width of a normal distribution's 95 % interval in standard deviations."""


def budget_fit(entries: Sequence[Mapping[str, JsonValue]], seed: int) -> JsonObject | None:
    """The fit over finished trials; None where the sweep did not try several k at several budgets.

    entries: of ``Outcome.entry``. Gives ``fits`` (k, intercept, slope) and ``at``: for each budget tried, and for twice
    and four times the largest (``extrapolated``), the best k, the share of draws in which it is best, the k of the
    middle 95 % of draws, and that k's log ratio with its 95 % interval. Or ``reason``: why there is none. A draw moves
    each trial by a normal error of its own documents' and of the line's size, and fits anew.
    """
    points: dict[int, list[tuple[float, float, float]]] = {}
    for entry in entries:
        settings = entry["config"]
        assert isinstance(settings, dict)
        if "k" not in settings or "budget_tokens" not in settings:
            return None
        found, low, high = (float(str(entry[name])) for name in (LEAST, "low", "high"))
        deviation = (high - low) / _OF_95
        points.setdefault(int(str(settings["k"])), []).append((float(str(settings["budget_tokens"])), found, deviation))
    budgets = sorted({budget for mine in points.values() for budget, *_ in mine})
    if len(points) < 2 or len(budgets) < 2:
        return None
    fewest = min(points, key=lambda k: len({budget for budget, *_ in points[k]}))
    held = len({budget for budget, *_ in points[fewest]})
    if held < NEEDED:
        return {"reason": f"k={fewest} was tried at {held} budgets; a fit needs {NEEDED} for each k"}
    # A stream for each k, so that one more k changes nothing for the others.
    lines = {k: _lines(np.array(points[k]), generator(seed, "budget", str(k))) for k in sorted(points)}
    places = [*budgets, *(times * budgets[-1] for times in _BEYOND)]
    return {
        "fits": [{"k": k, "intercept": float(drawn[0, 0]), "slope": float(drawn[0, 1])} for k, drawn in lines.items()],
        "at": [{**_best(lines, budget), "extrapolated": budget > budgets[-1]} for budget in places],
    }


def _lines(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(1 + draws, 2) intercept and slope, of the points themselves first; points: (n, 3) tokens, ratio, deviation."""
    tokens, found, deviations = points.T
    sides = np.stack([np.ones(len(tokens)), np.log(tokens)], axis=1)
    # Solved once: the places are the same in every draw, so one product fits all of them.
    solved = np.linalg.pinv(sides)
    line = solved @ found
    # Variance around the line, whose two numbers have used up two of the points.
    misfit = float(np.square(found - sides @ line).sum()) / max(1, len(found) - 2)
    moved = found + rng.normal(size=(_DRAWS, len(found))) * np.sqrt(np.square(deviations) + misfit)
    drawn: FloatArray = np.concatenate([line[None], moved @ solved.T])
    return drawn


def _best(lines: Mapping[int, FloatArray], budget: float) -> JsonObject:
    ks = np.array(list(lines))
    # (k, 1 + draws): log ratio at this budget; column 0 is of the points themselves.
    values = np.stack([drawn @ np.array([1.0, np.log(budget)]) for drawn in lines.values()])
    best, drawn = ks[values.argmin(axis=0)], values[values[:, 0].argmin(), 1:]
    (k_low, k_high), (low, high) = (
        np.percentile(best[1:], [2.5, 97.5], method="nearest"),  # between two k there is none
        np.percentile(drawn, [2.5, 97.5]),
    )
    return {
        "budget_tokens": int(budget),
        "k": int(best[0]),
        "share": float((best[1:] == best[0]).mean()),
        "k_low": int(k_low),
        "k_high": int(k_high),
        LEAST: float(values[:, 0].min()),
        "low": float(low),
        "high": float(high),
    }
