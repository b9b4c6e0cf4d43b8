"""Cuts beside one another, and what a probe of the seed found."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.records import JsonObject, JsonValue
from app.reporting.cells import Cell, Section, Table, mapping, number, sequence

_AGREEMENT = (
    "1 for equal cuts; the Rand index is 0 for what chance gives. Over languages where both cuts give whole languages"
    " to experts, else over training documents, of which those of a language then stay together in one of the cuts."
)
_PREDICTED = (
    "Rank correlation of the mean distance of a language to those that share its expert with its change of"
    " log-perplexity against dense, over all runs that give whole languages to experts; each language's own mean is"
    " taken away first. Positive: nearer company goes with a larger gain. Near 0: the measure predicts nothing here."
    " A case is a language in a run; they are not independent, so few runs say little."
)
_PROBES = {
    "deviation": "1 - cosine of what a short training on each changes in the last layers' feed-forward weights",
    "gradient": "1 - cosine of the seed's mean gradients",
    "representation": "1 - cosine of the seed's mean hidden states, their common mean taken away",
    "transfer": "change of loss on one after a short training on the other, mean of both directions in nats per token;"
    " below 0 they help each other",
}

_LAYERS = (
    "Change of a layer: the norm of what a short training on one language changes in its feed-forward weights, the mean"
    " over the languages; scaled so that the least is 0 and the most 1. DMoE would split the layers of at least"
    " {least} into experts inside one model; nothing here is built on it."
)


def groupings_section(found: JsonObject) -> Section | None:
    """``agreement``, ``balance`` and ``predicted`` of the cuts of several runs; left out where there are not two."""
    pairs = [mapping(row) for row in sequence(found.get("agreement"))]
    if not pairs:
        return None
    rows = [
        [
            Cell(str(row["one"]), "text"),
            Cell(str(row["other"]), "text"),
            *_figures(row, "rand", "information"),
            Cell(str(row["over"])),
        ]
        for row in pairs
    ]
    sizes = [
        [Cell(name, "text"), Cell(f"{number(value):.3f}")] for name, value in mapping(found.get("balance")).items()
    ]
    told = [
        [
            Cell(name, "text"),
            *_figures(mapping(row), "correlation"),
            Cell(str(mapping(row)["cases"])),
            Cell(str(mapping(row)["runs"])),
        ]
        for name, row in mapping(found.get("predicted")).items()
    ]
    tables = [
        Table(["run", "other run", "adjusted Rand", "mutual information", "over"], rows, "Agreement of two cuts"),
        Table(["run", "largest part over the mean"], sizes, "Balance, in training documents"),
    ]
    if told:
        tables.append(Table(["distance by", "correlation", "cases", "runs"], told, "What nearness predicts"))
    return Section("Cuts beside one another", tables, [_AGREEMENT, *([_PREDICTED] if told else [])])


def probe_section(found: JsonObject) -> Section | None:
    """The distances that the cut rests on. found: ``probe``, ``languages`` and ``distances`` of each pair."""
    if not found:
        return None
    languages = [str(lang) for lang in sequence(found["languages"])]
    rows = [
        [Cell(lang), *(Cell(f"{value:+.3f}") for value in values)]
        for lang, values in zip(languages, sequence(found["distances"]), strict=True)
    ]
    tables = [Table(["language", *languages], rows)]
    notes = [f"Distance of two languages: {_PROBES[str(found['probe'])]}."]
    if layers := mapping(found.get("layers")):
        tables.append(_layers_table(layers))
        notes.append(_LAYERS.format(least=number(layers["least"])))
    return Section(f"Probe of the seed: {found['probe']}", tables, notes)


def _layers_table(layers: Mapping[str, JsonValue]) -> Table:
    chosen = sequence(layers["chosen"])
    rows = [
        [
            Cell(str(layer + 1)),
            Cell(f"{number(mean):.3g}"),
            Cell(f"{number(scaled):.2f}"),
            Cell("yes" if layer in chosen else "no"),
        ]
        for layer, (mean, scaled) in enumerate(zip(sequence(layers["mean"]), sequence(layers["scaled"]), strict=True))
    ]
    return Table(["layer", "mean change", "scaled", "split"], rows, "Change of each layer")


def _figures(row: Mapping[str, object], *names: str) -> list[Cell]:
    return [Cell(f"{float(str(row[name])):+.3f}") for name in names]
