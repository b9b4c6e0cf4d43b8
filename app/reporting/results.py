"""How the systems compare: language x system, each system against dense, expert x language beside the published one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.core.records import JsonObject
from app.reporting.cells import Cell, Plot, Section, Table, language_cell, mapping
from app.reporting.tables import LABELS, MAIN_SYSTEMS, expert_names, main_systems, per_language
from app.reporting.tables import Cell as Figures

_STRONGEST_RATIO = math.log(1.5)
_PLOT_WIDTH = 100.0
_FIRST_SYSTEMS = ("seed", "dense", "ensemble")


def perplexity_section(summary: JsonObject) -> Section | None:
    """Language x system, the lowest of a row in bold, and the ensemble's change against dense with its interval."""
    table = per_language(summary) if summary else {}
    if not table:
        return None
    systems = main_systems(table)
    before, after = (tuple(name for name in systems if (name in _FIRST_SYSTEMS) == first) for first in (True, False))
    ends = [cells["ensemble"][f"{part}_from_dense"] for cells in table.values() for part in ("low", "high")]
    span = (min(0.0, *ends), max(0.0, *ends))
    rows = []
    for lang, cells in table.items():
        lowest = min(cells[name]["perplexity"] for name in systems)
        shown = {name: _perplexity(cells[name]["perplexity"], lowest) for name in systems}
        change = _change(cells["ensemble"], span)
        bits = Cell(f"{cells['ensemble']['bits_per_byte']:.3f}")
        rows.append(
            [language_cell(lang), *(shown[name] for name in before), *change, *(shown[name] for name in after), bits]
        )
    notes = [
        "Perplexity per token of the seed's tokenizer, lower is better; bold is the lowest of the row. Compare within"
        " a row only: text and tokens differ between languages. Interval: paired bootstrap over documents (95 %);"
        " ✓ lower and ✗ higher perplexity than dense where it excludes no change.",
        _facts(summary, {"weighting": "weights of the ensemble", "protocol": "protocol", "mixture": "mixture"}),
    ]
    labels = [[LABELS.get(name, name) for name in names] for names in (before, after)]
    header = ["language", *labels[0], "against dense", "interval", "", *labels[1], "ensemble's bits per byte"]
    return Section("Perplexity by language and system", [Table(header, rows)], notes)


def systems_section(summary: JsonObject) -> Section | None:
    """Each system against dense over all languages."""
    systems = mapping(summary.get("systems"))
    if not systems:
        return None
    rows = []
    for name in sorted(systems, key=lambda name: name not in MAIN_SYSTEMS):
        line = systems[name]
        compared = line["languages_compared"]
        change = f"{line['mean_relative_perplexity_change']:+.2%}"
        wins = [f"{line['wins_over_dense']} of {compared}", str(line["clear_wins_over_dense"])]
        losses = [str(line["clear_losses_to_dense"]), f"{line['wins_over_seed']} of {compared}"]
        rows.append([Cell(LABELS.get(name, name)), *map(Cell, [*wins, *losses, change])])
    header = ["system", "wins over dense", "clear wins", "clear losses", "wins over seed", "mean change of perplexity"]
    return Section("Each system against dense", [Table(header, rows)])


def matrix_section(summary: JsonObject, published: JsonObject) -> Section | None:
    """Language x expert, coloured by the ratio to dense, ours and beside it the published one of the same kind."""
    table = per_language(summary) if summary else {}
    experts = expert_names(table)
    if not experts:
        return None
    homes = mapping(summary.get("expert_of_language"))
    rows = []
    for lang, cells in table.items():
        values = [cells[name]["perplexity"] for name in experts]
        own = experts.index(homes[lang]) if homes.get(lang) in experts else None
        rows.append(_matrix_row(lang, values, cells["dense"]["perplexity"], own))
    tables = [Table(["language", *experts, "dense"], rows, "this run" if published else "")]
    notes = [
        "Green is lower and red is higher than dense, full colour from a factor of 1.5; framed: the language's expert."
    ]
    if published:
        tables.append(_published_table(published))
        notes.append(
            f"Published: {published['allocation']} k = {published['k']} of XGLM-1.7B on mC4 against its dense baseline;"
            f" framed: the lowest of the row. Source: {published['source']}. Experts stand in each"
            " table's own order; compare patterns, not perplexities."
        )
    return Section("Perplexity of each expert in each language", tables, notes)


def _published_table(published: JsonObject) -> Table:
    matrix, baseline = mapping(published["matrix"]), mapping(published["baseline"])
    rows = [_matrix_row(lang, values, baseline[lang], values.index(min(values))) for lang, values in matrix.items()]
    k = len(next(iter(matrix.values())))
    return Table(["language", *(f"expert {number}" for number in range(k)), "dense"], rows, "published")


def _matrix_row(lang: str, values: Sequence[float], dense: float, own: int | None) -> list[Cell]:
    shaded = [
        Cell(f"{value:.2f}", "own" if place == own else "", _shade(math.log(value / dense)))
        for place, value in enumerate(values)
    ]
    return [language_cell(lang), *shaded, Cell(f"{dense:.2f}")]


def _perplexity(value: float, lowest: float) -> Cell:
    return Cell(f"{value:.2f}", "best" if value == lowest else "")


def _change(cell: Figures, span: tuple[float, float]) -> list[Cell]:
    """The change in words, its interval in words and drawn. span: least and greatest change of the whole table."""
    change, low, high = (cell[f"{part}_from_dense"] for part in ("change", "low", "high"))
    clear = bool(cell["clear_from_dense"])
    kind = ("win" if change < 0 else "loss") if clear else ""
    mark = ("✓ " if change < 0 else "✗ ") if clear else ""
    scale = (_PLOT_WIDTH - 8) / ((span[1] - span[0]) or 1.0)
    low_x, point_x, high_x, zero_x = (round(4 + (value - span[0]) * scale, 1) for value in (low, change, high, 0.0))
    interval = Cell(f"{100 * low:+.1f} … {100 * high:+.1f}", "soft")
    return [Cell(f"{mark}{change:+.1%}", kind), interval, Cell(kind=kind, plot=Plot(low_x, point_x, high_x, zero_x))]


def _shade(log_ratio: float) -> str:
    strength = min(1.0, abs(log_ratio) / _STRONGEST_RATIO) * 0.55
    colour = "11, 110, 79" if log_ratio < 0 else "176, 58, 46"
    return f"background: rgba({colour}, {strength:.2f})"


def _facts(summary: JsonObject, names: Mapping[str, str]) -> str:
    known = [f"{label}: {summary[name]}" for name, label in names.items() if summary.get(name)]
    text = "; ".join(known)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
