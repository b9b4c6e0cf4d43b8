"""Make the seed: copy a pretrained model into the store, or train tokenizer and model on the mixture."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("seed", argv, __doc__ or "", _work, is_long=True, cuts=False)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.seed import make_seed

    return recorded(make_seed)


if __name__ == "__main__":
    sys.exit(main())
