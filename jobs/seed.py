"""Make the seed: copy a pretrained model into the store, or train tokenizer and model on the mixture."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.lineage.runs import recorded
from app.pipelines.seed import make_seed
from app.planning.forecast import forecast
from jobs.entry import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("seed", argv, __doc__ or "", forecast, recorded(make_seed))


if __name__ == "__main__":
    sys.exit(main())
