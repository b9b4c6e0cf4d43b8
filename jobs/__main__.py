"""``python -m jobs``: the jobs, one line each."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from importlib import resources

from jobs.entry import version

_FIRST = ("all", "doctor", "plan", "status", "stop")
_NO_JOBS = ("__init__", "__main__", "entry", "failures", "next_steps", "terminal")


def main(argv: Sequence[str] | None = None) -> int:
    """List the jobs with the first line of what they do; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs", description="Lists the jobs; python -m jobs.NAME --help says how each is used."
    )
    parser.add_argument("--version", action="version", version=version())
    parser.parse_args(argv)
    for name in job_names():
        print(f"python -m jobs.{name:<15} {_purpose(name)}")
    print("\neach but watch_spot takes --preset, --config, --set, --dry-run and --help")
    print("begin with: python -m jobs.all --preset demo")
    return 0


def job_names() -> list[str]:
    """Names of all jobs, those that are needed most first."""
    files = [file.name.removesuffix(".py") for file in resources.files("jobs").iterdir() if file.name.endswith(".py")]
    rest = sorted(name for name in files if name not in (*_NO_JOBS, *_FIRST))
    return [*_FIRST, *rest]


def _purpose(name: str) -> str:
    # Read and not imported: the list needs no more than the first line of each.
    source = (resources.files("jobs") / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
