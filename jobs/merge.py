"""Average the run's experts into single models (section `merges`) and add them to its ensemble."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("merge", argv, __doc__ or "", _work, changes_run=True)


def _work() -> Step:
    from app.pipelines.merge import merge_run

    return merge_run


if __name__ == "__main__":
    sys.exit(main())
