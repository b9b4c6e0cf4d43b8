"""Check versions, token, ports, storage, GPUs, disk, clock and resources on the driver and on every node."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status: 1 if a check failed."""
    return run_job("doctor", argv, __doc__ or "", _work)


def _work() -> Step:
    from app.doctor.examine import examine

    return examine


if __name__ == "__main__":
    sys.exit(main())
