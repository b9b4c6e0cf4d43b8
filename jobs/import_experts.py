"""Build an ensemble from existing models: Hugging Face folders or ids, or fairseq and metaseq checkpoint files."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.lineage.runs import recorded
from app.pipelines.import_experts import import_experts
from app.planning.forecast import forecast
from jobs.entry import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    shortcuts = {"experts": "imported.experts"}
    return run_job("import_experts", argv, __doc__ or "", forecast, recorded(import_experts), shortcuts)


if __name__ == "__main__":
    sys.exit(main())
