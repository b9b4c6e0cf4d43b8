"""A small evaluation summary: two languages, two experts."""

from __future__ import annotations

import math

from app.core.records import JsonObject
from app.reporting.cells import Section


def cell(perplexity: float, change: float, clear: bool, tokens: int = 1000) -> JsonObject:
    """Figures of one language and system."""
    figures: JsonObject = {"perplexity": perplexity, "bits_per_byte": 1.5, "exposure_tokens": tokens}
    figures |= {"change_from_dense": change, "low_from_dense": change - 0.1, "high_from_dense": change + 0.1}
    return {**figures, "clear_from_dense": clear}


def headline(change: float, losses: int = 0) -> JsonObject:
    """A system over all languages: a mean change of ``change`` within 0.01 to both sides."""
    figures = dict.fromkeys(("languages_compared", "wins_over_dense", "clear_wins_over_dense", "wins_over_seed"), 2)
    ratios = {end: math.log1p(change + shift) for end, shift in (("", 0.0), ("_low", -0.01), ("_high", 0.01))}
    means = {f"mean_log_perplexity_ratio{end}": ratio for end, ratio in ratios.items()}
    return {**figures, "clear_losses_to_dense": losses, "mean_relative_perplexity_change": change, **means}


def made(kind: str, told: bool = False, weighting: str | None = None, experts: float = 1.0) -> JsonObject:
    """How a system is made."""
    facts: JsonObject = {"kind": kind, "told_language": told, "weighting": weighting}
    return {**facts, "experts_per_token": experts, "passes_per_token": experts}


SUMMARY: JsonObject = {
    "experts": ["expert-00", "expert-01"],
    "steps": {"dense": 488, "expert-00": 122, "expert-01": 121},
    "clear_needs_documents": 20,
    "languages_with_enough_documents": 2,
    "expected_false_clear": 0.1,
    "made": {
        "seed": made("model"),
        "dense": made("model"),
        "expert-00": made("model"),
        "expert-01": made("model"),
        "ensemble_told": made("mixture", told=True, weighting="one_hot"),
        "ensemble": made("mixture", weighting="posterior", experts=1.4),
    },
    "expert_of_language": {"ar": "expert-00", "de": "expert-01"},
    "weighting": "posterior",
    "per_language": {
        "ar": {
            "seed": cell(15, 0.5, True),
            "dense": {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 1000},
            "expert-00": cell(8, -0.2, True),
            "expert-01": cell(20, 1.0, True),
            "ensemble_told": cell(8.1, -0.19, True, 990),
            "ensemble": cell(8, -0.2, True, 990),
        },
        "de": {
            "seed": cell(16, 0.6, True),
            "dense": {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 0},
            "expert-00": cell(15, 0.5, True),
            "expert-01": cell(10, 0.0, False),
            "ensemble_told": cell(11, 0.1, False),
            "ensemble": cell(11, 0.1, False),
        },
    },
    "systems": {
        "expert-00": headline(0.1, losses=1),
        "ensemble_told": headline(-0.06),
        "ensemble": headline(-0.05),
    },
}


def texts(section: Section | None, table: int = 0) -> list[list[str]]:
    """The cells' texts of one of a section's tables."""
    assert section is not None
    chosen = section.tables[table]
    assert all(len(row) == len(chosen.header) for row in chosen.rows)
    return [[cell.text for cell in row] for row in chosen.rows]
