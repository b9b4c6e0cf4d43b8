"""The run's result: a table for the terminal, a CSV, and the page."""

from __future__ import annotations

import platform
from importlib import metadata

from app.artifacts.layout import CONFIG, DATA_CARD, REPORT, RUN, SUMMARY, TABLE_CSV
from app.artifacts.store import Store
from app.config.load import resolved
from app.config.schema import Config
from app.core.records import JsonObject
from app.pipelines.models import dense_task, expert_tasks
from app.pipelines.parents import find_allocation, find_shards, find_tokens
from app.pipelines.runs import Made
from app.reporting.html import ReportRecords, render_report
from app.reporting.tables import headline_text, table_csv, terminal_table

_SHOWN_PACKAGES = ("ray", "torch", "transformers", "tokenizers", "scikit-learn", "lang2vec", "Babel", "numpy")


def make_report(config: Config, store: Store) -> Made:
    """Render ``report/index.html`` and ``evaluation/table.csv`` in the run folder from what is in the store."""
    run = store.run(config.run.name)
    summary = run.read_json(SUMMARY)
    run.write(TABLE_CSV, table_csv(summary).encode())
    run.write(REPORT, render_report(_records(config, store, summary)).encode())
    return {}


def result_text(config: Config, store: Store) -> str:
    """What the demo prints at its end: the table, the headline, where the page is and what to type next."""
    run = store.run(config.run.name)
    summary = run.read_json(SUMMARY)
    return "\n".join(
        [
            terminal_table(summary),
            "",
            headline_text(summary),
            "",
            f"report   {run.uri}/{REPORT}",
            f"figures  {run.uri}/{SUMMARY}",
            f"config   {run.uri}/{CONFIG}",
            "next     .venv/bin/python -m jobs.all --preset demo --set allocation.strategy=tfidf --set run.name=tfidf",
        ]
    )


def _records(config: Config, store: Store, summary: JsonObject) -> ReportRecords:
    shards, tokens, allocation = find_shards(config, store), find_tokens(config, store), find_allocation(config, store)
    models = [dense_task(config, store), *expert_tasks(config, store)]
    manifests = {task.name: task.stage.manifest() for task in models}
    stages = {"shards": shards, "tokens": tokens, "allocation": allocation}
    seconds = {name: stage.manifest().seconds for name, stage in stages.items()}
    seconds |= {name: manifest.seconds for name, manifest in manifests.items()}
    return ReportRecords(
        summary=summary,
        allocation=dict(allocation.manifest().counts),
        data_card=shards.read_json(DATA_CARD),
        tokens=dict(tokens.manifest().counts),
        models={name: dict(manifest.counts) for name, manifest in manifests.items()},
        lineage=store.run(config.run.name).read_json(RUN),
        config=resolved(config),
        environment=_environment(),
        seconds=dict(seconds),
    )


def _environment() -> JsonObject:
    versions: JsonObject = {name: metadata.version(name) for name in _SHOWN_PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}
