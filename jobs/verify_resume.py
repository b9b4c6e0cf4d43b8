"""Prove exact resume on this configuration: train some steps, again with a kill -9 in the middle, compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("verify_resume", argv, __doc__ or "", _work, is_long=True)


def _work() -> Step:
    from app.fleet.verify_resume import verify_resume

    return verify_resume


if __name__ == "__main__":
    sys.exit(main())
