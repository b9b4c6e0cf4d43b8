"""Set all finished runs of a store beside one another: a table, and a page with what differs and several seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("compare", argv, __doc__ or "", _work)


def _work() -> Step:
    from app.pipelines.compare import compare_runs

    return compare_runs


if __name__ == "__main__":
    sys.exit(main())
