"""A small evaluation summary: two languages, two experts."""

from __future__ import annotations

from app.core.records import JsonObject
from app.reporting.cells import Section


def cell(perplexity: float, change: float, clear: bool, tokens: int = 1000) -> JsonObject:
    """Figures of one language and system."""
    figures: JsonObject = {"perplexity": perplexity, "bits_per_byte": 1.5, "exposure_tokens": tokens}
    figures |= {"change_from_dense": change, "low_from_dense": change - 0.1, "high_from_dense": change + 0.1}
    return {**figures, "clear_from_dense": clear}


SUMMARY: JsonObject = {
    "expert_of_language": {"ar": "expert-00", "de": "expert-01"},
    "weighting": "one_hot",
    "per_language": {
        "ar": {
            "seed": cell(15, 0.5, True),
            "dense": {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 1000},
            "expert-00": cell(8, -0.2, True),
            "expert-01": cell(20, 1.0, True),
            "ensemble": cell(8, -0.2, True, 990),
        },
        "de": {
            "seed": cell(16, 0.6, True),
            "dense": {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 0},
            "expert-00": cell(15, 0.5, True),
            "expert-01": cell(10, 0.0, False),
            "ensemble": cell(11, 0.1, False),
        },
    },
    "systems": {
        "expert-00": {"mean_relative_perplexity_change": 0.1, "clear_losses_to_dense": 1}
        | dict.fromkeys(("languages_compared", "wins_over_dense", "clear_wins_over_dense", "wins_over_seed"), 2),
        "ensemble": {"mean_relative_perplexity_change": -0.05, "clear_losses_to_dense": 0}
        | dict.fromkeys(("languages_compared", "wins_over_dense", "clear_wins_over_dense", "wins_over_seed"), 2),
    },
}


def texts(section: Section | None, table: int = 0) -> list[list[str]]:
    """The cells' texts of one of a section's tables."""
    assert section is not None
    chosen = section.tables[table]
    assert all(len(row) == len(chosen.header) for row in chosen.rows)
    return [[cell.text for cell in row] for row in chosen.rows]
