"""Render the run's result page."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("report", argv, __doc__ or "", _work)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.report import make_report

    return recorded(make_report)


if __name__ == "__main__":
    sys.exit(main())
