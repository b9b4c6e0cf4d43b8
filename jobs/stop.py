"""Ask a running job to save and end at the next step, wherever it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    # Not as a long job: it would wait for the lease of the very job that it is to stop.
    return run_job("stop", argv, __doc__ or "", _work)


def _work() -> Step:
    from app.fleet.control import request_stop

    return request_stop


if __name__ == "__main__":
    sys.exit(main())
