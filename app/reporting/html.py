"""The run's page: one self-contained HTML file from JSON records; nothing is loaded from anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined

from app.core.languages import display_name, is_right_to_left, native_name
from app.core.records import JsonObject
from app.core.units import format_bytes, format_count, format_seconds
from app.reporting.tables import MAIN_SYSTEMS, change_text, headline_text, per_language


@dataclass(frozen=True)
class ReportRecords:
    """What the page shows.

    summary: ``evaluation/summary.json``. allocation: counts of the allocation's manifest. data_card: the shards'
    ``data_card.json``. tokens: ``<lang>/<split>`` -> documents, tokens, bytes. models: name -> counts of its manifest.
    lineage: ``run.json``. config: the resolved tree. environment: versions. seconds: stage -> seconds.
    """

    summary: JsonObject
    allocation: JsonObject
    data_card: JsonObject
    tokens: JsonObject
    models: dict[str, JsonObject]
    lineage: JsonObject
    config: JsonObject
    environment: JsonObject
    seconds: dict[str, float]


def render_report(records: ReportRecords) -> str:
    """The page as one HTML string; all text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"bytes": format_bytes, "count": format_count, "seconds": format_seconds}
    environment.filters |= {"english": display_name, "native": native_name, "change": change_text}
    source = (resources.files("app.reporting") / "report.html.j2").read_text(encoding="utf-8")
    table = per_language(records.summary)
    experts = [name for name in records.models if name != "dense"]
    return environment.from_string(source).render(
        records=records,
        headline=headline_text(records.summary),
        table=table,
        systems=MAIN_SYSTEMS,
        best={lang: min(cells[name]["perplexity"] for name in MAIN_SYSTEMS) for lang, cells in table.items()},
        experts=experts,
        shade=_shades(table, experts),
        right_to_left={lang: is_right_to_left(lang) for lang in table},
        config=json.dumps(records.config, indent=1, ensure_ascii=False),
    )


def _shades(table: dict[str, dict[str, dict[str, float]]], experts: list[str]) -> dict[str, dict[str, float]]:
    """Language -> expert -> 0 (worst) to 1 (best expert in this language), by log perplexity ratio within the row."""
    shades = {}
    for lang, cells in table.items():
        values = {name: cells[name]["bits_per_byte"] for name in experts}
        low, high = min(values.values()), max(values.values())
        shades[lang] = {name: (high - value) / (high - low) if high > low else 1.0 for name, value in values.items()}
    return shades
