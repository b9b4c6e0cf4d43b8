"""Show how far each model of the run is, from the run folder alone: also after the cluster is gone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    # Not as a long job: it reads beside the job that holds the lease of the run.
    return run_job("status", argv, __doc__ or "", _work)


def _work() -> Step:
    from app.fleet.control import run_status

    return run_status


if __name__ == "__main__":
    sys.exit(main())
