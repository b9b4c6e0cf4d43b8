"""The language x system table as terminal text, Markdown and CSV, from ``summary.json``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from app.core.records import JsonObject, JsonValue
from app.core.units import format_count

LABELS: Mapping[str, str] = {
    "top1_language": "top-1 lang",
    "top1_context": "top-1 text",
    "ensemble_told": "ensemble, told",
    "tfidf": "paper's rule",
}
_FIRST, _LAST = ("seed", "dense"), ("top1_language", "top1_context", "tfidf", "posterior", "ensemble_told", "ensemble")
_FIGURES = ("perplexity", "bits_per_byte", "low", "high", "documents", "exposure_tokens")

Cell: TypeAlias = dict[str, float]


def per_language(summary: JsonObject) -> dict[str, dict[str, Cell]]:
    """Language -> system -> figure."""
    table = summary["per_language"]
    assert isinstance(table, dict)
    return {lang: _cells(row) for lang, row in table.items()}


def main_systems(summary: JsonObject) -> tuple[str, ...]:
    """All systems of the table but single experts: seed, dense models, ways of using the experts, the ensemble last."""
    found = [name for name in _systems(summary) if name not in expert_names(summary)]
    further = [name for name in found if name not in (*_FIRST, *_LAST)]
    return tuple(name for name in (*_FIRST, *further, *_LAST) if name in found)


def expert_names(summary: JsonObject) -> list[str]:
    """The single experts of the table, in their order."""
    experts = summary["experts"]
    assert isinstance(experts, list)
    found = _systems(summary)
    return [str(name) for name in experts if name in found]


def _systems(summary: JsonObject) -> list[str]:
    return list(dict.fromkeys(name for cells in per_language(summary).values() for name in cells))


def terminal_table(summary: JsonObject) -> str:
    """Perplexity per language and main system, the lowest marked, and the ensemble's change against dense."""
    header, rows = _perplexities(summary, "{:.2f}*", "{:.2f} ")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    head, *lines = ("  ".join(_padded(row, widths)).rstrip() for row in [header, *rows])
    note = "* lowest of its row; change of perplexity with its 95 % interval, clear where that excludes 0"
    return "\n".join([head, "-" * max(map(len, [head, *lines])), *lines, note])


def markdown_summary(summary: JsonObject) -> str:
    """The same table in Markdown, the lowest perplexity of each row in bold."""
    return markdown_table(*_perplexities(summary, "**{:.2f}**", "{:.2f}"))


def headline_text(summary: JsonObject) -> str:
    """The result in words, whatever it is, without and with the language of each document told."""
    tokens = format_count(float(str(summary["tokens_total"])))
    systems = summary.get("systems")
    told = systems.get("ensemble_told") if isinstance(systems, dict) else None
    text = (
        f"X-ELM ({summary['allocation']}, k = {summary['k']}) against dense at {tokens} training tokens each:"
        f" lower perplexity in {_wins_text(summary)}, mean change {mean_change_text(summary)}"
    )
    if not isinstance(told, dict):
        return text
    return f"{text}; told the language of each document: {_wins_text(told)}, {mean_change_text(told)}"


def mean_change_text(figures: Mapping[str, JsonValue]) -> str:
    """The mean change of perplexity over languages with its interval, e.g. ``-4.10% [-5.00%, -3.20%]``.

    The mean is that of log(ppl / ppl(dense)), shown as the factor that it stands for.
    """
    names = [f"mean_log_perplexity_ratio{end}" for end in ("", "_low", "_high")]
    mean, low, high = (math.expm1(float(str(figures[name]))) for name in names)
    return f"{mean:+.2%} [{low:+.2%}, {high:+.2%}]"


def change_of_log(log_ratio: float) -> str:
    """A log ratio of perplexities as the change that it stands for, e.g. ``-4.10%``."""
    return f"{math.expm1(log_ratio):+.2%}"


def _wins_text(figures: Mapping[str, JsonValue]) -> str:
    return (
        f"{figures['wins_over_dense']} of {figures['languages_compared']} languages"
        f" (clearly in {figures['clear_wins_over_dense']}, clearly higher in {figures['clear_losses_to_dense']})"
    )


def change_text(cell: Cell) -> str:
    """Change against dense with its interval, e.g. ``-4.1% [-5.0%, -3.2%] clear``."""
    low, high = cell["low_from_dense"], cell["high_from_dense"]
    clear = " clear" if cell["clear_from_dense"] else ""
    return f"{cell['change_from_dense']:+.1%} [{low:+.1%}, {high:+.1%}]{clear}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a vertical bar in a cell is escaped."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    texts = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([texts[0], f"|{'---|' * len(header)}", *texts[1:]])


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (header, *rows)
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def table_csv(summary: JsonObject) -> str:
    """Every language, system and figure, one row each language and system."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    changes = [f"{part}_from_dense" for part in ("change", "low", "high", "clear")]
    writer.writerow(["language", "system", *_FIGURES, *changes])
    for lang, cells in per_language(summary).items():
        for name, cell in cells.items():
            writer.writerow(
                [lang, name, *(cell.get(figure, "") for figure in _FIGURES), *(cell.get(part, "") for part in changes)]
            )
    return sink.getvalue()


def _perplexities(summary: JsonObject, best: str, other: str) -> tuple[list[str], list[list[str]]]:
    table = per_language(summary)
    systems = main_systems(summary)
    rows = []
    for lang, cells in table.items():
        lowest = min(cells[name]["perplexity"] for name in systems)
        values = [cells[name]["perplexity"] for name in systems]
        shown = [(best if value == lowest else other).format(value) for value in values]
        rows.append([lang, *shown, change_text(cells["ensemble"])])
    return ["lang", *(LABELS.get(name, name) for name in systems), "ensemble against dense"], rows


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """First and last column to the left, numbers to the right."""
    inner = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
    return [row[0].ljust(widths[0]), *inner, row[-1]]


def _cells(row: JsonValue) -> dict[str, Cell]:
    assert isinstance(row, dict)
    return {name: _cell(cell) for name, cell in row.items()}


def _cell(cell: JsonValue) -> Cell:
    assert isinstance(cell, dict)
    # A bool is an int here, so ``clear_from_`` comes along.
    return {name: value for name, value in cell.items() if isinstance(value, int | float)}
