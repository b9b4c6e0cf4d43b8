"""Rankings of donors and what a round will take, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.records import JsonObject
from app.core.units import format_count, format_seconds
from app.reporting.cells import mapping, number, sequence
from app.reporting.tables import text_table

_SHOWN = 3
UNITS = {
    "typology": "distance of syntax features, 0 to 1",
    "perplexity": "nats per token of the languages' expert on a sample of the new text",
    "representation": "1 - cosine of the seed's mean hidden states, around their mean",
}
"""What each ranking's figure is."""


def nearest_text(row: object) -> str:
    """The first donors of one new language with their figures."""
    pairs = [sequence(pair) for pair in sequence(row)][:_SHOWN]
    return ", ".join(f"{lang} {float(str(value)):.3f}" for lang, value in pairs) or "nobody"


def rankings_text(ranked: Mapping[str, JsonObject], missing: Mapping[str, str], chosen: str) -> str:
    """The nearest donors of each new language by every ranking, and which were not computed and why."""
    rows = [
        [lang, f"{name} (chosen)" if name == chosen else name, nearest_text(row)]
        for name, found in ranked.items()
        for lang, row in found.items()
    ]
    # Stable: within a language the rankings keep their order.
    rows.sort(key=lambda row: row[0])
    table = text_table(["language", "ranking", "nearest donors"], rows)
    return "\n".join([table, *(f"not computed: {name}: {why}" for name, why in missing.items())])


def forecast_text(forecast: JsonObject) -> str:
    """Tokens, steps, FLOPs and time of each model of the round, and together."""
    models = [mapping(model) for model in sequence(forecast["models"])]
    rows = [
        [str(model["name"]), format_count(int(str(model["tokens"]))), str(model["steps"]), _flops(model), _time(model)]
        for model in models
    ]
    tokens = sum(int(str(model["tokens"])) for model in models)
    lines = [text_table(["model", "tokens", "steps", "FLOPs", "time"], rows)]
    seconds = [number(model["seconds"]) for model in models]
    known = [value for value in seconds if value is not None]
    together = f"together {format_count(tokens)} tokens"
    # A sum without some of its models would look like the time of the round.
    if known and len(known) == len(models):
        together += f", {format_seconds(sum(known))} one after another, as fast as {forecast['time_from']} says"
    return "\n".join([*lines, together])


def _flops(model: Mapping[str, object]) -> str:
    value = number(model["flops"])
    return "?" if value is None else f"{value:.2e}"


def _time(model: Mapping[str, object]) -> str:
    value = number(model["seconds"])
    return "?" if value is None else format_seconds(value)
