"""New languages: who they branched from, what they gained, and what the old ones lost."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.languages import display_name
from app.core.records import JsonObject
from app.reporting.cells import Cell, Picture, Section, Table, language_cell, mapping, number, sequence
from app.reporting.plots import family_tree_picture
from app.reporting.rounds import UNITS, nearest_text
from app.reporting.tables import mean_change_text

_NAMED = 4
"""Languages that a line of the family tree names."""
_BEFORE, _BEFORE_TOLD, _AFTER_TOLD = "before", "before_told", "after_told"
_NOTES = (
    "Before and after: the ensemble without and with the new experts, a running posterior over its experts, no language"
    " named; told: the expert of the document's language alone. LAPT: the dense model trained on, on a new language"
    " alone, with as many tokens as a new expert in all (total), or with as many of the new language (new)."
)


def adaptation_section(report: JsonObject) -> Section | None:
    """report: what ``jobs.adapt`` found: ``family_tree``, ``old``, ``new`` and perhaps ``earlier`` (``systems``,
    ``per_language``), ``unchanged``, ``version``, ``rankings`` and which was chosen (``donors_by``), ``not_computed``.
    """
    if not report:
        return None
    tree = [mapping(node) for node in sequence(report["family_tree"])]
    kept = "are untouched: their digests are what they were" if report["unchanged"] else "HAVE CHANGED"
    notes = [f"Version {report['version']} of the ensemble. The experts that there were {kept}.", _NOTES]
    notes += [f"Ranking not computed: {name}: {why}." for name, why in mapping(report["not_computed"]).items()]
    tables = [
        _donors(report),
        _systems(mapping(report["new"]), "New languages: mean change"),
        _languages(mapping(report["new"]), "New languages: perplexity, change against dense"),
        _systems(mapping(report["old"]), "Old languages: mean change"),
    ]
    if "earlier" in report:
        tables.append(_systems(mapping(report["earlier"]), "Languages of earlier rounds: mean change"))
    drawn = [(str(node["expert"]), str(node["parent"]), _label(node)) for node in tree]
    picture = Picture(family_tree_picture(drawn), f"Family tree of {len(tree)} experts")
    return Section("New languages", tables, notes, [picture])


def _donors(report: JsonObject) -> Table:
    """A row for each new language, a column for each ranking, the one that was chosen marked."""
    ranked = {name: mapping(found) for name, found in mapping(report["rankings"]).items()}
    chosen = report["donors_by"]
    header = [f"{name} (chosen): {UNITS[name]}" if name == chosen else f"{name}: {UNITS[name]}" for name in ranked]
    rows = [
        [language_cell(lang), *(Cell(nearest_text(found[lang]), "text") for found in ranked.values())]
        for lang in next(iter(ranked.values()))
    ]
    return Table(["language", *header], rows, "Nearest donors by each ranking")


def _label(node: Mapping[str, object]) -> str:
    held = [display_name(str(lang)) for lang in sequence(node["languages"])]
    # The picture is as wide as its longest line, and all are named in the tables.
    more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
    languages = ", ".join(held[:_NAMED]) + more
    return f"{node['expert']}: {languages}" + (f" (donor {node['donor']})" if "donor" in node else "")


def _systems(part: Mapping[str, object], caption: str) -> Table:
    rows = []
    for name, figures in mapping(part["systems"]).items():
        found = mapping(figures)
        against = mapping(found.get("against"))
        # Like with like: what is told the language against what was told it before.
        base = _BEFORE_TOLD if name == _AFTER_TOLD and _BEFORE_TOLD in against else _BEFORE
        since = mean_change_text(mapping(against[base])) if base in against else ""
        rows.append([Cell(name), Cell(mean_change_text(found)), Cell(since)])
    return Table(["system", "against dense", "against the ensemble before"], rows, caption)


def _languages(part: Mapping[str, object], caption: str) -> Table:
    table = {lang: mapping(cells) for lang, cells in mapping(part["per_language"]).items()}
    names = list(next(iter(table.values()), {}))
    rows = [[language_cell(lang), *(_cell(mapping(cells[name])) for name in names)] for lang, cells in table.items()]
    return Table(["language", *names], rows, caption)


def _cell(figures: Mapping[str, object]) -> Cell:
    value = number(figures.get("perplexity"))
    change = number(figures.get("change_from_dense"))
    return Cell("" if value is None else f"{value:.2f}" + ("" if change is None else f" ({change:+.1%})"))
