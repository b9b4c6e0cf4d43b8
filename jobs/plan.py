"""Show what a run will take before anything is started: GPU-hours, wall time for n GPUs, storage, saves, money."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    switches = {"simulate": "planning.simulate", "files": "planning.files"}
    return run_job("plan", argv, __doc__ or "", _work, switches=switches)


def _work() -> Step:
    from app.planning.plan import make_plan

    return make_plan


if __name__ == "__main__":
    sys.exit(main())
