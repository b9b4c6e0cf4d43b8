"""What stands on the page: each section a table of cells, made from one record; None where the record is absent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.languages import display_name, is_right_to_left, native_name
from app.core.records import JsonObject
from app.core.units import format_bytes, format_count, format_seconds
from app.reporting.tables import LABELS, MAIN_SYSTEMS, expert_names, main_systems, per_language
from app.reporting.tables import Cell as Figures

_STRONGEST_RATIO = math.log(1.5)
_PLOT_WIDTH = 100.0
_FIRST_SYSTEMS = ("seed", "dense", "ensemble")


@dataclass(frozen=True)
class Plot:
    """An interval drawn as a line with a point, and where no change is; all in pixels from the left of ``width``."""

    low: float
    point: float
    high: float
    zero: float
    width: float = _PLOT_WIDTH


@dataclass(frozen=True)
class Cell:
    """One cell. ``kind``: CSS classes; ``style``: inline CSS; ``lang``: the language whose names are shown beside."""

    text: str = ""
    kind: str = ""
    style: str = ""
    lang: str = ""
    plot: Plot | None = None

    @property
    def names(self) -> tuple[str, str]:
        """English and native name of the language."""
        return display_name(self.lang), native_name(self.lang)

    @property
    def right_to_left(self) -> bool:
        """Whether the native name runs from right to left."""
        return is_right_to_left(self.lang)


@dataclass(frozen=True)
class Section:
    """A titled table with notes below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


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
            [_language(lang), *(shown[name] for name in before), *change, *(shown[name] for name in after), bits]
        )
    notes = [
        "Perplexity per token of the seed's tokenizer, lower is better; bold is the lowest of the row. Compare within"
        " a row only: text and tokens differ between languages. Interval: paired bootstrap over documents (95 %);"
        " ✓ lower and ✗ higher perplexity than dense where it excludes no change.",
        _facts(summary, {"weighting": "weights of the ensemble", "protocol": "protocol", "mixture": "mixture"}),
    ]
    labels = [[LABELS.get(name, name) for name in names] for names in (before, after)]
    header = ["language", *labels[0], "against dense", "interval", "", *labels[1], "ensemble's bits per byte"]
    return Section("Perplexity by language and system", header, rows, notes)


def systems_section(summary: JsonObject) -> Section | None:
    """Each system against dense over all languages."""
    systems = _mapping(summary.get("systems"))
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
    return Section("Each system against dense", header, rows)


def matrix_section(summary: JsonObject) -> Section | None:
    """Language x expert: perplexity, coloured by its ratio to dense; the language's own expert framed."""
    table = per_language(summary) if summary else {}
    experts = expert_names(table)
    if not experts:
        return None
    homes = _mapping(summary.get("expert_of_language"))
    rows = []
    for lang, cells in table.items():
        dense = cells["dense"]["perplexity"]
        row = [_language(lang)]
        for name in experts:
            value = cells[name]["perplexity"]
            kind = "own" if homes.get(lang) == name else ""
            row.append(Cell(f"{value:.2f}", kind, _shade(math.log(value / dense))))
        rows.append([*row, Cell(f"{dense:.2f}")])
    notes = [
        "Green is lower and red is higher than dense, full colour from a factor of 1.5; framed: the language's expert."
    ]
    return Section("Perplexity of each expert in each language", ["language", *experts, "dense"], rows, notes)


def allocation_section(allocation: JsonObject) -> Section | None:
    """Languages of each expert, or documents of each language and expert."""
    experts = [str(name) for name in _sequence(allocation.get("experts"))]
    clusters, documents = _sequence(allocation.get("clusters")), _mapping(allocation.get("documents"))
    if clusters:
        names = [", ".join(f"{display_name(lang)} ({lang})" for lang in cluster) for cluster in clusters]
        rows = [[Cell(name), Cell(text, "text")] for name, text in zip(experts, names, strict=True)]
        return Section("Allocation: languages of each expert", ["expert", "languages"], rows)
    if not documents:
        return None
    rows = [[_language(lang), *(Cell(format_count(n)) for n in counts)] for lang, counts in documents.items()]
    totals = _sequence(allocation.get("documents_per_expert"))
    rows.append([Cell("all", "best"), *(Cell(format_count(n), "best") for n in totals)])
    ratio = allocation.get("max_over_mean")
    notes = [f"Largest part over the mean part: {float(str(ratio)):.3f}."] if ratio is not None else []
    return Section("Allocation: training documents of each expert", ["language", *experts], rows, notes)


def exposure_section(summary: JsonObject) -> Section | None:
    """Training tokens of each language under dense and under all experts together."""
    table = per_language(summary) if summary else {}
    if not table:
        return None
    rows = []
    for lang, cells in table.items():
        dense, experts = cells["dense"]["exposure_tokens"], cells["ensemble"]["exposure_tokens"]
        ratio = f"{experts / dense:.3f}" if dense else "–"
        rows.append([_language(lang), Cell(format_count(dense)), Cell(format_count(experts)), Cell(ratio)])
    notes = ["Equal budgets compare fairly only at equal exposure: a ratio of 1 in every language."]
    header = ["language", "dense", "all experts together", "ratio"]
    return Section("Exposure: training tokens of each language", header, rows, notes)


def models_section(models: Mapping[str, JsonObject]) -> Section | None:
    """Steps, tokens, loss and speed of each model that was trained."""
    rows = []
    for name, counts in models.items():
        tokens, seconds = _number(counts.get("tokens_seen")), _number(counts.get("training_seconds"))
        shown = [
            _shown(counts.get("steps"), lambda value: f"{value:.0f}"),
            _shown(tokens, format_count),
            _shown(counts.get("final_loss"), lambda value: f"{value:.3f}"),
            _shown(counts.get("parameters"), format_count),
            _shown(seconds, format_seconds),
            format_count(tokens / seconds) if tokens and seconds else "–",
        ]
        rows.append([Cell(name), *map(Cell, shown)])
    header = ["model", "steps", "tokens", "last loss (nats)", "parameters", "time", "tokens/s"]
    return Section("Models", header, rows) if rows else None


def data_section(tokens: JsonObject, data_card: JsonObject) -> Section | None:
    """Documents, bytes and tokens of each language, duplicates and rejected rows."""
    duplicates = _mapping(data_card.get("duplicates"))
    rows = []
    for lang in sorted({name.partition("/")[0] for name in tokens}):
        train, held_out = _mapping(tokens.get(f"{lang}/train")), _mapping(tokens.get(f"{lang}/validation"))
        size, count = _number(train.get("bytes")), _number(train.get("tokens"))
        shown = [
            _shown(train.get("documents"), format_count),
            _shown(size, format_bytes),
            _shown(count, format_count),
            f"{count / size:.3f}" if count and size else "–",
            _shown(duplicates.get(lang), format_count),
            _shown(held_out.get("documents"), format_count),
        ]
        rows.append([_language(lang), *map(Cell, shown)])
    if not rows:
        return None
    rejects = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in _mapping(data_card.get("rejects")).items())
    header = ["language", "training documents", "bytes", "tokens", "tokens per byte", "duplicates", "held out"]
    return Section("Data card", header, rows, [f"Rows that could not be used: {rejects or 'none'}."])


def times_section(seconds: Mapping[str, float]) -> Section | None:
    """Wall-clock time of each stage."""
    rows = [[Cell(name), Cell(format_seconds(value))] for name, value in seconds.items()]
    return Section("Time", ["stage", "wall clock"], rows) if rows else None


def _language(code: str) -> Cell:
    return Cell(code, "language", lang=code)


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


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _shown(value: Any, form: Any) -> str:
    number = _number(value)
    return "–" if number is None else str(form(number))
