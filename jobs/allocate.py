"""Cut the corpus into k parts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("allocate", argv, __doc__ or "", _work, is_long=True)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.allocate import make_allocation

    return recorded(make_allocation)


if __name__ == "__main__":
    sys.exit(main())
