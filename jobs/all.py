"""Run every stage in order: shard, seed, tokenize, allocate, baseline and experts, evaluate, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job
from jobs.next_steps import after_all


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("all", argv, __doc__ or "", _work, is_long=True, then=after_all)


def _work() -> Step:
    from app.pipelines.everything import run_everything

    return run_everything


if __name__ == "__main__":
    sys.exit(main())
