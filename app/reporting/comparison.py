"""Several runs of one store beside one another: headline figures, what differs, and equal runs of several seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.core.records import JsonObject, JsonValue
from app.core.units import format_count
from app.reporting.cells import Cell, Section, Table, mapping, number
from app.reporting.tables import mean_change_text

_NO_SETTING = ("run.name", "artifacts.", "cluster.", "imported.", "planning.")
"""Names and places: they change nothing that is measured."""
_SEED = "run.seed"
HEADER = ("run", "cut", "k", "random seed", "tokens", "wins", "clear", "losses", "mean change", "language told")


@dataclass(frozen=True)
class ComparedRun:
    """A finished run: its name, ``summary.json`` and resolved configuration."""

    name: str
    summary: JsonObject
    config: JsonObject

    @property
    def settings(self) -> dict[str, JsonValue]:
        """Dotted name -> value of what can change a figure."""
        return {name: value for name, value in _flat(self.config).items() if not name.startswith(_NO_SETTING)}


def comparison_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """A row of ``HEADER`` for each run."""
    return [_row(run) for run in runs]


def comparison_sections(runs: Sequence[ComparedRun]) -> list[Section]:
    """The page's sections; those with nothing to say are left out."""
    rows = [[Cell(text) for text in row] for row in comparison_rows(runs)]
    notes = [
        "The ensemble of each run against its own dense model; mean change of perplexity over the run's languages with"
        " the 95 % interval over held-out documents. Runs on other text cannot be compared with one another."
    ]
    found = [Section("Runs", [Table(list(HEADER), rows)], notes), _seeds_section(runs), _differences_section(runs)]
    return [section for section in found if section is not None]


def _row(run: ComparedRun) -> list[str]:
    summary, told = run.summary, mapping(mapping(run.summary.get("systems")).get("ensemble_told"))
    compared = summary["languages_compared"]
    figures = [str(summary["clear_wins_over_dense"]), str(summary["clear_losses_to_dense"]), mean_change_text(summary)]
    return [
        run.name,
        str(summary["allocation"]),
        str(summary["k"]),
        _shown(run.settings.get(_SEED)),
        format_count(number(summary["tokens_total"]) or 0.0),
        f"{summary['wins_over_dense']} of {compared}",
        *figures,
        mean_change_text(told) if told else "–",
    ]


def _seeds_section(runs: Sequence[ComparedRun]) -> Section | None:
    """Runs that differ in their random seed alone, as one row."""
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name != _SEED}
        # As text, since settings may be lists; in sorted order, since files may name them in any.
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    rows = []
    for same in groups.values():
        # A run with the same seed under another name is no second sample.
        if len({_shown(run.settings.get(_SEED)) for run in same}) > 1:
            ratios = [float(str(run.summary["mean_log_perplexity_ratio"])) for run in same]
            figures = [math.expm1(ratio) for ratio in (sum(ratios) / len(ratios), min(ratios), max(ratios))]
            rows.append(
                [", ".join(run.name for run in same), str(len(same)), *(f"{figure:+.2%}" for figure in figures)]
            )
    header = ["runs", "training seeds", "mean change", "lowest", "highest"]
    cells = [[Cell(row[0], "text"), *map(Cell, row[1:])] for row in rows]
    notes = ["Runs with equal settings but for run.seed: how far a result moves when everything is trained anew."]
    return Section("Several training seeds", [Table(header, cells)], notes) if rows else None


def _differences_section(runs: Sequence[ComparedRun]) -> Section | None:
    """Settings that are not the same in all runs."""
    names = sorted({name for run in runs for name in run.settings})
    rows = []
    for name in names:
        values = [_shown(run.settings.get(name)) for run in runs]
        if len(set(values)) > 1:
            rows.append([Cell(name), *map(Cell, values)])
    header = ["setting", *(run.name for run in runs)]
    return Section("What differs", [Table(header, rows)]) if rows else None


def _flat(tree: Mapping[str, JsonValue], above: str = "") -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _shown(value: JsonValue) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
