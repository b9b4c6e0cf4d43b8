"""Tokenize the shards once with the seed's tokenizer."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return run_job("tokenize", argv, __doc__ or "", _work, is_long=True, cuts=False)


def _work() -> Step:
    from app.lineage.runs import recorded
    from app.pipelines.tokenize import make_tokens

    return recorded(make_tokens)


if __name__ == "__main__":
    sys.exit(main())
