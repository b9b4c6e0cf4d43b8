"""Have every system write in every language, judge in which one it did, and answer the questions across languages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("cross_lingual", argv, __doc__ or "", _work, is_long=True)


def _work() -> Step:
    from app.pipelines.cross_lingual import make_cross_lingual

    return make_cross_lingual


if __name__ == "__main__":
    sys.exit(main())
