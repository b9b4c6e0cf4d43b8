"""Write the run's models as Hugging Face folders with model cards and lineage, and the ensemble around them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("export", argv, __doc__ or "", _work)


def _work() -> Step:
    from app.pipelines.export import export_run

    return export_run


if __name__ == "__main__":
    sys.exit(main())
