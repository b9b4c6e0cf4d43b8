"""Score seed, dense and experts on the same text, compare the ensemble with them, and have them write samples."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("evaluate", argv, __doc__ or "", _work, is_long=True)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.evaluate import make_evaluation
    from app.pipelines.sample import make_samples

    return recorded(lambda lineage: {**make_evaluation(lineage), **make_samples(lineage)})


if __name__ == "__main__":
    sys.exit(main())
