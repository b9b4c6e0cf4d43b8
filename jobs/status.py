"""Show how far each model of the run is, from the run folder alone: also after the cluster is gone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.fleet.control import run_status
from app.planning.forecast import forecast
from jobs.entry import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("status", argv, __doc__ or "", forecast, run_status)


if __name__ == "__main__":
    sys.exit(main())
