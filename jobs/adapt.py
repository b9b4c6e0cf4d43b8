"""Add new languages to a finished run: an expert each, branched from the nearest language's; or remove them again."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    shortcuts = {"languages": "adaptation.languages", "remove": "adaptation.remove"}
    return run_job("adapt", argv, __doc__ or "", _work, shortcuts=shortcuts, is_long=True, cuts=False, foresee=_foresee)


def _work() -> Step:
    from app.pipelines.adapt import adapt_run

    return adapt_run


def _foresee() -> Step:
    from app.pipelines.foresee import foresee_adaptation

    return foresee_adaptation


if __name__ == "__main__":
    sys.exit(main())
