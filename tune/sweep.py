"""Try every combination of settings over one store, and say which to take. Values: section `sweep`."""

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
    """Run the sweep; returns the exit status."""
    # The cut of the configuration itself is no trial's.
    return run_job("sweep", argv, __doc__ or "", _work, is_long=True, cuts=False, foresee=_foresee, package="tune")


def _work() -> Step:
    from tune.outcome import told
    from tune.run import run_sweep

    def work(config: Config, store: Store) -> JsonObject:
        return told(config, store, run_sweep(config, store))

    return work


def _foresee() -> Step:
    from tune.forecast import sweep_forecast
    from tune.space import axes_of, planned_settings, trial_of

    def foresee(config: Config, _store: Store) -> JsonObject:
        if config.sweep.searcher == "optuna":
            return {
                "trials": config.sweep.trials,
                "axes": {name: list(tried) for name, tried in axes_of(config).items()},
            }
        trials = [trial_of(config, settings) for settings in planned_settings(config)]
        return {"trials": [dict(trial.settings) for trial in trials], "forecast": sweep_forecast(config, trials)}

    return foresee


if __name__ == "__main__":
    sys.exit(main())
