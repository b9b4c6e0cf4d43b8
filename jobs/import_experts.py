"""Build an ensemble from existing models: Hugging Face folders or ids, or fairseq and metaseq checkpoint files."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    shortcuts = {"experts": "imported.experts"}
    return run_job("import_experts", argv, __doc__ or "", _work, shortcuts=shortcuts, changes_run=True)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.import_experts import import_experts

    return recorded(import_experts)


if __name__ == "__main__":
    sys.exit(main())
