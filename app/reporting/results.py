"""How the systems compare: language x system, each system against dense, expert x language beside the published one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from app.core.records import JsonObject
from app.reporting.cells import Cell, Plot, Section, Table, language_cell, mapping
from app.reporting.tables import LABELS, expert_names, main_systems, mean_change_text, per_language, table_csv
from app.reporting.tables import Cell as Figures

_ROUNDED = 0.05
"""Budgets are whole steps, so that equal shares come out a little unequal where experts take few."""
_FULL_COLOUR = 0.6
"""Opacity of the cell that differs most from dense."""
_PLOT_WIDTH = 100.0
_FIRST_SYSTEMS = ("seed", "dense", "ensemble")


def perplexity_section(summary: JsonObject) -> Section | None:
    """Language x system, the lowest of a row in bold, and the ensemble's change against dense with its interval."""
    table = per_language(summary) if summary else {}
    if not table:
        return None
    systems = main_systems(summary)
    # The change against dense stands just behind the two figures it is made of.
    before, after = (tuple(name for name in systems if (name in _FIRST_SYSTEMS) == first) for first in (True, False))
    ends = [cells["ensemble"][f"{part}_from_dense"] for cells in table.values() for part in ("low", "high")]
    # One scale for all rows, with 0 on it, so that intervals can be compared by eye.
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
        " ✓ lower and ✗ higher perplexity than dense where it excludes 0.",
        *_explanations(summary, mapping(summary.get("made"))),
        _facts(summary, {"protocol": "protocol", "mixture": "mixture"}),
    ]
    labels = [[LABELS.get(name, name) for name in names] for names in (before, after)]
    header = ["language", *labels[0], "against dense", "interval", "", *labels[1], "ensemble's bits per byte"]
    return Section("Perplexity by language and system", [Table(header, rows, csv=table_csv(summary))], notes)


def systems_section(summary: JsonObject) -> Section | None:
    """Each system against dense over all languages, with what it is told, what it took and what a token costs."""
    systems, made = mapping(summary.get("systems")), mapping(summary.get("made"))
    if not systems:
        return None
    main = [name for name in main_systems(summary) if name in systems]
    rows = []
    for name in (*main, *(name for name in systems if name not in main)):
        line, facts = systems[name], made[name]
        wins = [f"{line['wins_over_dense']} of {line['languages_compared']}", str(line["clear_wins_over_dense"])]
        losses = [str(line["clear_losses_to_dense"]), f"{line['wins_over_seed']} of {line['languages_compared']}"]
        told = "yes" if facts["told_language"] else "no"
        runs = f"{facts['experts_per_token']:.2f}"
        cells = [told, *wins, *losses, mean_change_text(line), _steps(summary, name, facts["kind"]), runs]
        rows.append([Cell(LABELS.get(name, name)), *map(Cell, cells)])
    header = ["system", "told the language", "wins over dense", "clear wins", "clear losses", "wins over seed"]
    header += ["mean change of perplexity", "optimizer steps", "models run per token"]
    tables = [Table(header, rows), *_further(systems, main)]
    return Section("Each system against dense", tables, _fairness(summary))


def _further(systems: Mapping[str, Figures], main: Sequence[str]) -> list[Table]:
    """The ways of using the experts against further dense models; none where there are none."""
    rows = []
    for name in main:
        for base, line in mapping(systems[name].get("against")).items():
            wins = [str(line["wins"]), str(line["clear_wins"]), str(line["clear_losses"]), mean_change_text(line)]
            rows.append([Cell(LABELS.get(name, name)), Cell(base), *map(Cell, wins)])
    header = ["system", "against", "wins", "clear wins", "clear losses", "mean change of perplexity"]
    return [Table(header, rows, "against further dense models")] if rows else []


def _steps(summary: JsonObject, name: str, kind: str) -> str:
    """Optimizer steps of the models behind a system."""
    steps = mapping(summary.get("steps"))
    counts = [steps[name]] if kind == "model" else [steps[expert] for expert in expert_names(summary)]
    low, high = min(counts), max(counts)
    each = "" if kind == "model" else f" in each of {len(counts)} experts"
    return f"{low:,}{each}" if low == high else f"{low:,} to {high:,}{each}"


def _explanations(summary: JsonObject, made: Mapping[str, Figures]) -> list[str]:
    """What the systems' names mean, for those that are there."""
    weighting = summary.get("weighting")
    notes = [
        "top-1 lang: the one expert that holds most of the document's language, which is told. top-1 text: the one"
        " expert that the text so far points to.",
        f"ensemble: all experts mixed, with weights from the text so far (rule: {weighting}); no language is told.",
    ]
    if "posterior" in (weighting, *made):
        notes.append(
            "posterior: an expert's weight is in proportion to the probability that it gave to the text so far; experts"
            " of very little weight are not run."
        )
    if told := made.get("ensemble_told"):
        text = f"ensemble, told: the same with the language of each document told (rule: {told['weighting']})"
        if str(told["weighting"]) == "one_hot":
            text += ". Each language belongs to one expert here, so that expert has all weight: it equals top-1 lang"
        notes.append(f"{text}.")
    if "tfidf" in made:
        notes.append("paper's rule: weights softmax(-d²/T) by the distance d of the text so far to each expert.")
    return notes


def _fairness(summary: JsonObject) -> list[str]:
    """What is equal between the systems and what is not."""
    steps = mapping(summary.get("steps"))
    experts = [steps[name] for name in expert_names(summary)]
    low, high = min(experts), max(experts)
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    notes = [
        "Mean change: the mean over languages of log(perplexity / dense's), as a factor, with the 95 % interval of a"
        " paired bootstrap over the documents of each language; another random seed or corpus may give another result.",
        f"Equal: training tokens of all. {_exposure_note(per_language(summary))} Not equal: optimizer steps,"
        f" {steps['dense']:,} of dense against {span} of an expert.",
    ]
    enough, least = summary["languages_with_enough_documents"], summary["clear_needs_documents"]
    notes.append(
        f"Clear: the interval excludes 0, and there are at least {least} documents ({enough} languages)."
        f" About {summary['expected_false_clear']:.1f} of them would be clear by chance if nothing differed."
    )
    return notes


def _exposure_note(table: Mapping[str, Mapping[str, Figures]]) -> str:
    """Whether each language is seen as often by the experts together as by dense, by what was counted."""
    unlike = [
        lang
        for lang, cells in table.items()
        if abs(cells["ensemble"]["exposure_tokens"] / max(cells["dense"]["exposure_tokens"], 1) - 1) > _ROUNDED
    ]
    if not unlike:
        return "Equal too: how often each language is seen."
    return f"Not equal: how often {len(unlike)} of {len(table)} languages are seen; see Exposure."


def matrix_section(summary: JsonObject, published: JsonObject) -> Section | None:
    """Language x expert, coloured by the ratio to dense, ours and beside it the published one of the same kind."""
    table = per_language(summary) if summary else {}
    experts = expert_names(summary) if table else []
    if not experts:
        return None
    homes = mapping(summary.get("expert_of_language"))
    ours = {lang: [cells[name]["perplexity"] for name in experts] for lang, cells in table.items()}
    dense = {lang: cells["dense"]["perplexity"] for lang, cells in table.items()}
    own = {lang: experts.index(homes[lang]) for lang in table if homes.get(lang) in experts}
    theirs = mapping(published.get("matrix"))
    baseline = mapping(published.get("baseline"))
    # One scale of colours for both tables: equal colours are equal ratios.
    strongest = max(_strongest(ours, dense), _strongest(theirs, baseline))
    header = ["language", *experts, "dense"]
    tables = [Table(header, _matrix_rows(ours, dense, own, strongest), "this run" if published else "")]
    notes = [
        "Green is lower and red is higher than dense. The colour grows with the root of |log(perplexity / dense's)| up"
        f" to the largest one shown, a factor of {math.exp(strongest):.2f}; framed: the language's expert."
    ]
    if published:
        lowest = {lang: values.index(min(values)) for lang, values in theirs.items()}
        header = ["language", *(f"expert {number}" for number in range(len(next(iter(theirs.values())))))]
        rows = _matrix_rows(theirs, baseline, lowest, strongest)
        tables.append(Table([*header, "dense"], rows, "published"))
        notes.append(
            f"Published: {published['allocation']} k = {published['k']} of XGLM-1.7B on mC4 against its dense baseline;"
            f" framed: the lowest of the row. Source: {published['source']}. Experts stand in each"
            " table's own order; compare patterns, not perplexities."
        )
    return Section("Perplexity of each expert in each language", tables, notes)


Matrix: TypeAlias = Mapping[str, Sequence[float]]
"""Language -> perplexity of each expert."""


def _strongest(matrix: Matrix, dense: Mapping[str, float]) -> float:
    """The largest |log(perplexity / dense's)|."""
    return max((abs(math.log(value / dense[lang])) for lang, row in matrix.items() for value in row), default=0.0)


def _matrix_rows(
    matrix: Matrix, dense: Mapping[str, float], framed: Mapping[str, int], strongest: float
) -> list[list[Cell]]:
    """framed: language -> place of the cell with a frame."""
    rows = []
    for lang, values in matrix.items():
        shades = [_shade(math.log(value / dense[lang]), strongest) for value in values]
        kinds = ["own" if place == framed.get(lang) else "" for place in range(len(values))]
        looks = zip(values, kinds, shades, strict=True)
        cells = [Cell(f"{value:.2f}", kind, shade) for value, kind, shade in looks]
        rows.append([language_cell(lang), *cells, Cell(f"{dense[lang]:.2f}")])
    return rows


def _shade(log_ratio: float, strongest: float) -> str:
    """The root keeps small changes visible beside experts that have forgotten a language, and full colour for one."""
    strength = math.sqrt(abs(log_ratio) / strongest) * _FULL_COLOUR if strongest else 0.0
    colour = "11, 110, 79" if log_ratio < 0 else "176, 58, 46"
    return f"background: rgba({colour}, {strength:.3f})"


def _perplexity(value: float, lowest: float) -> Cell:
    return Cell(f"{value:.2f}", "best" if value == lowest else "")


def _change(cell: Figures, span: tuple[float, float]) -> list[Cell]:
    """The change in words, its interval in words and drawn. span: least and greatest change of the whole table."""
    change, low, high = (cell[f"{part}_from_dense"] for part in ("change", "low", "high"))
    clear = bool(cell["clear_from_dense"])
    kind = ("win" if change < 0 else "loss") if clear else ""
    mark = ("✓ " if change < 0 else "✗ ") if clear else ""
    # 4 pixels are left at either side for the point that is drawn, which has a radius of 3.
    scale = (_PLOT_WIDTH - 8) / ((span[1] - span[0]) or 1.0)
    low_x, point_x, high_x, zero_x = (round(4 + (value - span[0]) * scale, 1) for value in (low, change, high, 0.0))
    interval = Cell(f"{100 * low:+.1f} … {100 * high:+.1f}", "soft")
    return [Cell(f"{mark}{change:+.1%}", kind), interval, Cell(kind=kind, plot=Plot(low_x, point_x, high_x, zero_x))]


def _facts(summary: JsonObject, names: Mapping[str, str]) -> str:
    known = [f"{label}: {summary[name]}" for name, label in names.items() if summary.get(name)]
    text = "; ".join(known)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
