"""The published perplexities of X-ELM (arXiv 2401.10440), transcribed once into a table with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

from app.core.errors import ConfigError


@dataclass(frozen=True)
class PublishedPerplexity:
    """One published figure: an expert (None: the baseline) of an allocation at k, in one language."""

    allocation: str
    k: int
    expert: int | None
    language: str
    perplexity: float
    source: str


def load_published() -> tuple[PublishedPerplexity, ...]:
    """Every row of ``published_perplexities.csv``, in its order."""
    text = (resources.files("app.evaluation") / "published_perplexities.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedPerplexity(
            allocation=row["allocation"],
            k=int(row["k"]),
            expert=int(row["expert"]) if row["expert"] else None,
            language=row["language"],
            perplexity=float(row["perplexity"]),
            source=row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def published_matrix(allocation: str, k: int) -> dict[str, list[float]]:
    """Language -> perplexity of expert 0, 1, ..., k - 1.

    Raises ConfigError if the paper's repository has no such matrix, naming those it has.
    """
    rows = load_published()
    matrix: dict[str, list[float]] = {}
    # Values are appended, so rows must come in the order of the experts, whatever the file has.
    for row in sorted((row for row in rows if row.expert is not None), key=lambda row: row.expert or 0):
        if (row.allocation, row.k) == (allocation, k):
            matrix.setdefault(row.language, []).append(row.perplexity)
    if not matrix:
        known = sorted({f"{row.allocation} k={row.k}" for row in rows if row.expert is not None})
        raise ConfigError(f"no published perplexities for {allocation} k={k}; there are: {', '.join(known)}")
    return matrix


def published_baseline() -> dict[str, float]:
    """Language -> perplexity of the dense baseline."""
    return {row.language: row.perplexity for row in load_published() if row.expert is None}
