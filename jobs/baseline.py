"""Train the dense baseline: the same code with one part that holds everything."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("baseline", argv, __doc__ or "", _work, is_long=True, cuts=False)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.train import train_dense

    return recorded(train_dense)


if __name__ == "__main__":
    sys.exit(main())
