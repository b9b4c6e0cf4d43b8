"""Try weightings of a finished run on its kept scores; no model runs. Chosen on one half of the documents, reported
on the other."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    return run_job("weights", argv, __doc__ or "", _work, shortcuts={"run": "run.name"}, package="tune")


def _work() -> Step:
    from tune.weighting import best_weighting

    return best_weighting


if __name__ == "__main__":
    sys.exit(main())
