"""The live table of a sweep's trials: below the fleet's board while models train, by itself afterwards."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from app.fleet.fleet import Fleet
from app.fleet.screen import InPlace
from app.reporting.tables import change_of_log
from tune.figures import LEAST
from tune.space import Outcome

log = logging.getLogger(__name__)

_EVALUATING = "evaluating"


class TrialBoard:
    """What each of ``outcomes``, a list that may grow, is at; in place on a terminal, elsewhere a line for a change."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = outcomes
        self._models: dict[str, Sequence[str]] = {}
        self._evaluating: set[str] = set()
        self._screen = InPlace()

    def needs(self, trial: str, models: Sequence[str]) -> None:
        """Keys of the models that a trial is made of, shared ones included."""
        self._models[trial] = models

    def lines(self, fleet: Fleet | None = None) -> list[str]:
        """One for each trial. fleet: while it trains, the trials' models are counted in it."""
        width = max((len(_settings(outcome)) for outcome in self._outcomes), default=0)
        return [f"{_settings(outcome):<{width}}  {self._state(outcome, fleet)}" for outcome in self._outcomes]

    def begun(self, trial: str) -> None:
        """A trial is being evaluated; in a search its models are trained then, too."""
        self._evaluating.add(trial)
        self._show(trial)

    def ended(self, trial: str) -> None:
        """A trial's end is noted."""
        self._show(trial)

    def _show(self, changed: str) -> None:
        lines = self.lines()
        if sys.stderr.isatty():
            self._screen.replace(lines)
            return
        for outcome, line in zip(self._outcomes, lines, strict=True):
            if outcome.trial.name == changed:
                log.info("sweep: %s", line)

    def _state(self, outcome: Outcome, fleet: Fleet | None) -> str:
        if outcome.status == "finished":
            told = outcome.figures
            change = change_of_log(float(str(told[LEAST])))
            return f"finished    {change}, wins {told['wins']} of {told['languages']}"
        if outcome.status == "failed":
            return f"failed      {outcome.reason[:80]}"
        if outcome.trial.name in self._evaluating:
            return _EVALUATING
        models = self._models.get(outcome.trial.name)
        if models is None or fleet is None:
            return "waiting"
        states = [fleet.member(key).state for key in models]
        at_once = f", {states.count('running')} running" if "running" in states else ""
        lost = f", {states.count('failed')} failed" if "failed" in states else ""
        return f"training    {states.count('done')} of {len(states)} models{at_once}{lost}"


def _settings(outcome: Outcome) -> str:
    return " ".join(f"{name}={value}" for name, value in outcome.trial.settings.items())
