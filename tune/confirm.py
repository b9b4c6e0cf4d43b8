"""Does the best recipe hold? A sweep chooses on one half of the documents; other random seeds report on the other half,
against a dense model that was given the same search."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.entry import Step, run_job

if TYPE_CHECKING:
    from app.artifacts.store import Store
    from app.config.schema import Config
    from app.core.records import JsonObject


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    # The cut of the configuration itself is no trial's.
    return run_job("confirm", argv, __doc__ or "", _work, is_long=True, cuts=False, foresee=_foresee, package="tune")


def _work() -> Step:
    from tune.confirming import confirmed

    return confirmed


def _foresee() -> Step:
    from tune.confirming import foreseen_trials
    from tune.forecast import sweep_forecast

    def foresee(config: Config, _store: Store) -> JsonObject:
        trials = foreseen_trials(config)
        return {"trials": [dict(trial.settings) for trial in trials], "forecast": sweep_forecast(config, trials)}

    return foresee


if __name__ == "__main__":
    sys.exit(main())
