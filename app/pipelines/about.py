"""What stands at the head of a page: the corpus, the date, the code, and how many trainings the figures rest on."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from app.config.schema import Config
from app.core.records import JsonValue
from app.core.units import format_count

_ALMANAC = (
    "the embedded almanac: generated lists of dates, quantities, money and names, written by a program from CLDR, no"
    " prose; what holds on it need not hold on real text"
)


def about_run(config: Config, shards: Mapping[str, JsonValue]) -> dict[str, str]:
    """Title -> text. shards: counts of the finished shards."""
    languages = shards["languages"]
    size = f"{format_count(float(str(shards['documents'])))} documents in"
    many = len(languages) if isinstance(languages, list) else 0
    return {
        "corpus": f"{corpus_text(config)}; {size} {many} languages",
        "training seeds": (
            f"1 (run.seed = {config.run.seed}). The intervals say how the figures would change with other held-out"
            " documents, not with another training seed: python -m jobs.compare sets runs beside one another"
        ),
        "page made": code_line(),
    }


def code_line() -> str:
    """When a page is made and by which code."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by {code_version()}"


def corpus_text(config: Config) -> str:
    """What the corpus is, in words."""
    corpus = config.corpus
    if corpus.source == "almanac":
        return _ALMANAC
    return f"{corpus.source} at {corpus.path}" if corpus.path else corpus.source


def code_version() -> str:
    """The commit of a checkout, with a word if files differ from it; else the version of the package."""
    root = Path(__file__).parents[2]
    # An installed package may lie inside somebody else's checkout, and git would name that one's commit.
    commit = _git(root, "rev-parse", "--short=12", "HEAD") if (root / ".git").exists() else ""
    if not commit:
        try:
            return f"version {metadata.version('xelm-ray')}"
        except metadata.PackageNotFoundError:
            return "code that names no version"
    # -uno: files that git does not know, such as the store, do not change the code.
    return f"commit {commit}{' with local changes' if _git(root, 'status', '--porcelain', '-uno') else ''}"


def _git(root: Path, *arguments: str) -> str:
    try:
        # A page is not worth waiting for: git may be missing, or hang on a slow file system.
        found = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if not found.returncode else ""
