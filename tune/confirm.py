"""Does the best recipe hold? A sweep chooses on one half of the documents; other random seeds report on the other half,
against a dense model that was given the same search."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job
from tune.sweep import foresee_trials


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    # The cut of the configuration itself is no trial's.
    return run_job(
        "confirm", argv, __doc__ or "", _work, is_long=True, cuts=False, foresee=foresee_trials, package="tune"
    )


def _work() -> Step:
    from tune.confirming import confirmed

    return confirmed


if __name__ == "__main__":
    sys.exit(main())
