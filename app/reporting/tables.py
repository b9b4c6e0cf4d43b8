"""The language × system table as terminal text, Markdown and CSV, from ``summary.json``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from app.core.records import JsonObject, JsonValue

MAIN_SYSTEMS = ("seed", "dense", "top1_language", "top1_context", "posterior", "ensemble")
_FIGURES = ("perplexity", "bits_per_byte", "low", "high", "exposure_tokens")


def per_language(summary: JsonObject) -> dict[str, dict[str, dict[str, float]]]:
    """Language -> system -> figure."""
    table = summary["per_language"]
    assert isinstance(table, dict)
    return {lang: _cells(row) for lang, row in table.items()}


def terminal_table(summary: JsonObject) -> str:
    """Perplexity per language and main system, the change of the ensemble against dense, and its interval."""
    rows = [["lang", *MAIN_SYSTEMS, "ensemble vs dense (95 %)"]]
    for lang, cells in per_language(summary).items():
        best = min(cells[name]["perplexity"] for name in MAIN_SYSTEMS)
        shown = [_mark(cells[name]["perplexity"], best) for name in MAIN_SYSTEMS]
        rows.append([lang, *shown, change_text(cells["ensemble"])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def headline_text(summary: JsonObject) -> str:
    """One sentence with the result, whatever it is."""
    change = float(str(summary["mean_relative_perplexity_change"]))
    return (
        f"X-ELM ({summary['allocation']}, k = {summary['k']}) against dense at {summary['tokens_total']} tokens each:"
        f" lower perplexity in {summary['wins_over_dense']} of {summary['languages_compared']} languages"
        f" (clearly in {summary['clear_wins_over_dense']}, clearly higher in {summary['clear_losses_to_dense']}),"
        f" mean change {change:+.2%}"
    )


def change_text(cell: dict[str, float]) -> str:
    """Change against dense with its interval, e.g. ``-4.1 % [-5.0, -3.2] *``; a star where it excludes 0."""
    low, high = cell["low_from_dense"], cell["high_from_dense"]
    star = " *" if high < 0 or low > 0 else "  "
    return f"{cell['change_from_dense']:+.1%} [{low:+.1%}, {high:+.1%}]{star}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def table_csv(summary: JsonObject) -> str:
    """Every language, system and figure, one row each language and system."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["language", "system", *_FIGURES, "change_from_dense"])
    for lang, cells in per_language(summary).items():
        for name, cell in cells.items():
            figures = [cell[figure] for figure in _FIGURES]
            writer.writerow([lang, name, *figures, cell.get("change_from_dense", "")])
    return sink.getvalue()


def _cells(row: JsonValue) -> dict[str, dict[str, float]]:
    assert isinstance(row, dict)
    return {name: dict(cell) for name, cell in row.items()}  # type: ignore[arg-type]  # JSON: objects of numbers


def _mark(value: float, best: float) -> str:
    return f"{value:.2f}{'*' if value == best else ' '}"
