"""Where each model stands, and what training took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.core.records import JsonObject
from app.core.units import format_bytes, format_count, format_seconds
from app.reporting.cells import Cell, Section, Table, number, shown

Column = tuple[str, str, Callable[[float], str]]
"""Header, name in the record, form."""


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _hundredths(value: float) -> str:
    return f"{value:.2f}"


_FIGURES: Sequence[Column] = (
    ("step", "step", _whole),
    ("tokens", "tokens_seen", format_count),
    ("loss (nats)", "loss", "{:.3f}".format),
    ("parameters", "parameters", format_count),
)
_INTERRUPTIONS: Sequence[Column] = (
    ("preempted", "preemptions", _whole),
    ("failed", "failures", _whole),
    ("time lost", "seconds_lost", format_seconds),
)
_TAKEN: Sequence[Column] = (
    ("wall clock", "wall_seconds", format_seconds),
    ("worker time", "worker_seconds", format_seconds),
    ("in the store", "storage_bytes", format_bytes),
)
_ON_GPUS: Sequence[Column] = (
    ("GPU-hours", "gpu_hours", _hundredths),
    ("forecast", "gpu_hours_forecast", _hundredths),
    ("spot", "money_spot", _hundredths),
    ("on demand", "money_on_demand", _hundredths),
)
_ADDED = ("worker_seconds", "storage_bytes", "gpu_hours", "gpu_hours_forecast", "money_spot", "money_on_demand")
"""What has a sum: wall clocks run side by side."""


def status_section(models: Mapping[str, JsonObject]) -> Section | None:
    """The page's form of ``jobs.status``: state, step, speed, loss, host and interruptions of each model."""
    rows = [
        [
            Cell(name),
            Cell(str(model.get("state") or "–")),
            *_cells(model, _FIGURES),
            Cell(_speed(model)),
            Cell(str(model.get("host") or "–")),
            *_cells(model, _INTERRUPTIONS),
        ]
        for name, model in models.items()
    ]
    header = ["model", "state", *_titles(_FIGURES), "tokens/s", "host", *_titles(_INTERRUPTIONS)]
    return Section("Status of the models", [Table(header, rows)]) if rows else None


def took_section(models: Mapping[str, JsonObject], prices: JsonObject) -> Section | None:
    """Time, storage and money of each model and of all together. prices: ``currency``, ``gpu``, and whose (``of``)."""
    if not models:
        return None
    on_gpus = any(number(model.get("gpu_hours")) is not None for model in models.values())
    columns = [*_TAKEN, *(_ON_GPUS if on_gpus else ())]
    rows = [
        [Cell(name), *_cells(model, columns), Cell(_speed(model)), Cell(_waiting(model))]
        for name, model in models.items()
    ]
    if len(models) > 1:
        rows.append([Cell("together"), *_cells(_sums(models), columns), Cell("–"), Cell("–")])
    notes = [
        "Wall clock: from the first step to the last, also while no machine was there. Worker time: of all attempts,"
        " with the steps that had to be done again; tokens/s, here and above: the model's tokens in it. Waiting for"
        " saves: share of the last attempt."
    ]
    if on_gpus:
        notes.append(
            f"Money in {prices.get('currency')} for GPU-hours at the price of one {prices.get('gpu')}, as if all"
            f" machines had been spot, and as if none had ({prices.get('of')}). Forecast: GPU-hours by jobs.plan."
        )
    else:
        notes.append("Trained on CPUs: the price table is one of GPUs, so no cost is computed.")
    header = ["model", *_titles(columns), "tokens/s", "waiting for saves"]
    return Section("What it took", [Table(header, rows)], notes)


def _titles(columns: Sequence[Column]) -> list[str]:
    return [title for title, _, _ in columns]


def _cells(model: Mapping[str, object], columns: Sequence[Column]) -> list[Cell]:
    return [Cell(shown(model.get(name), form)) for _, name, form in columns]


def _sums(models: Mapping[str, JsonObject]) -> dict[str, float]:
    known = {name: [number(model.get(name)) for model in models.values()] for name in _ADDED}
    # A figure that no model has stays a dash and does not become 0.
    return {name: sum(value or 0.0 for value in values) for name, values in known.items() if any(values)}


def _speed(model: JsonObject) -> str:
    tokens, seconds = number(model.get("tokens_seen")), number(model.get("worker_seconds"))
    return format_count(tokens / seconds) if tokens and seconds else "–"


def _waiting(model: JsonObject) -> str:
    # A manifest of an earlier version holds the last attempt's time under the other name.
    attempt = model.get("attempt_seconds", model.get("training_seconds"))
    saving, seconds = number(model.get("saving_seconds")), number(attempt)
    return f"{saving / seconds:.1%}" if saving is not None and seconds else "–"
