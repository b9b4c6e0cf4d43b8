"""Add new languages to a finished run: an expert each, branched from the nearest language's; or remove them again."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import Step, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    # A preset or file may name languages to add; whoever types --remove alone asks for something else.
    if _has(words, "--remove") and not _has(words, "--languages"):
        words += ["--languages", ""]
    shortcuts = {"languages": "adaptation.languages", "remove": "adaptation.remove"}
    return run_job(
        "adapt", words, __doc__ or "", _work, shortcuts=shortcuts, is_long=True, cuts=False, foresee=_foresee
    )


def _has(words: Sequence[str], option: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words)


def _work() -> Step:
    from app.pipelines.adapt import adapt_run

    return adapt_run


def _foresee() -> Step:
    from app.pipelines.foresee import foresee_adaptation

    return foresee_adaptation


if __name__ == "__main__":
    sys.exit(main())
