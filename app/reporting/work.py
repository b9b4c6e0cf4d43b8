"""What was done: exposure, data, losses, time of the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.records import JsonObject
from app.core.units import format_bytes, format_count, format_seconds
from app.reporting.cells import Cell, Picture, Section, Table, language_cell, mapping, number, shown
from app.reporting.plots import loss_plot
from app.reporting.tables import per_language


def exposure_section(summary: JsonObject) -> Section | None:
    """Training tokens of each language under dense and under all experts together."""
    table = per_language(summary) if summary else {}
    if not table:
        return None
    rows = []
    for lang, cells in table.items():
        dense, experts = cells["dense"]["exposure_tokens"], cells["ensemble"]["exposure_tokens"]
        ratio = f"{experts / dense:.3f}" if dense else "–"
        rows.append([language_cell(lang), Cell(format_count(dense)), Cell(format_count(experts)), Cell(ratio)])
    notes = ["Equal budgets compare fairly only at equal exposure: a ratio of 1 in every language."]
    header = ["language", "dense", "all experts together", "ratio"]
    return Section("Exposure: training tokens of each language", [Table(header, rows)], notes)


def data_section(tokens: JsonObject, data_card: JsonObject) -> Section | None:
    """Documents, bytes and tokens of each language, duplicates and rejected rows."""
    duplicates = mapping(data_card.get("duplicates"))
    rows = []
    for lang in sorted({name.partition("/")[0] for name in tokens}):
        train, held_out = mapping(tokens.get(f"{lang}/train")), mapping(tokens.get(f"{lang}/validation"))
        size, count = number(train.get("bytes")), number(train.get("tokens"))
        figures = [
            shown(train.get("documents"), format_count),
            shown(size, format_bytes),
            shown(count, format_count),
            f"{count / size:.3f}" if count and size else "–",
            shown(duplicates.get(lang), format_count),
            shown(held_out.get("documents"), format_count),
        ]
        rows.append([language_cell(lang), *map(Cell, figures)])
    if not rows:
        return None
    rejects = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in mapping(data_card.get("rejects")).items())
    header = ["language", "training documents", "bytes", "tokens", "tokens per byte", "duplicates", "held out"]
    notes = [f"Rows that are not used: {rejects or 'none'}."]
    # Told only where there are some: it makes a perplexity look better than it is.
    leaks = {lang: n for lang, n in mapping(data_card.get("held_out_in_training")).items() if n}
    if leaks:
        told = ", ".join(f"{lang} {n}" for lang, n in leaks.items())
        notes.append(f"Held-out documents whose very text is trained on too, so that perplexity looks better: {told}.")
    return Section("Data card", [Table(header, rows)], notes)


def loss_section(curves: Mapping[str, Sequence[Sequence[float]]]) -> Section | None:
    """Training loss of each model against the tokens it has seen. curves: model -> (tokens, nats per token) pairs."""
    drawn = {name: thin_curve(curve) for name, curve in curves.items() if curve}
    if not drawn:
        return None
    notes = [
        "Mean loss of the steps between two points. An expert's loss is on its own part of the text: compare"
        " slopes here, and perplexities on the same text above."
    ]
    picture = Picture(loss_plot(drawn), f"Training loss against tokens of {', '.join(drawn)}")
    return Section("Loss against tokens", notes=notes, pictures=[picture])


def thin_curve(curve: Sequence[Sequence[float]], points: int = 40) -> list[tuple[float, float]]:
    """At most ``points`` points of a curve, each the mean of its neighbours: noise hides where curves cross."""
    size = max(1, -(-len(curve) // points))
    groups = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def times_section(stages: Mapping[str, JsonObject]) -> Section | None:
    """Wall-clock time of each stage, and how many documents it handled in a second, where it handled documents.

    stages: name -> ``seconds`` and ``documents``. The speed of models stands where their worker time does.
    """
    rows = []
    for name, stage in stages.items():
        seconds, documents = number(stage.get("seconds")), number(stage.get("documents"))
        speed = format_count(documents / seconds) if seconds and documents else "–"
        rows.append([Cell(name), Cell(shown(seconds, format_seconds)), Cell(speed)])
    return Section("Time", [Table(["stage", "wall clock", "documents/s"], rows)]) if rows else None
