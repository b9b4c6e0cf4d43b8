"""All finished runs of a store on one page."""

from __future__ import annotations

import yaml

from app.artifacts.layout import COMPARISON, CONFIG, RUNS, SUMMARY
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import JsonObject
from app.core.redact import redact
from app.lineage.inputs import EVALUATE
from app.pipelines.about import code_line
from app.pipelines.groupings import groupings
from app.reporting.comparison import HEADER, ComparedRun, comparison_rows
from app.reporting.html import render_comparison
from app.reporting.tables import text_table


def compare_runs(_config: Config, store: Store) -> JsonObject:
    """Write ``compare/index.html`` below the root; returns the table to print, where the page is, and ``groupings``.

    Raises MissingArtifact where no run of the store has been evaluated.
    """
    runs = finished_runs(store)
    if not runs:
        raise MissingArtifact(f"{store.root} holds no finished run; run {EVALUATE} with each configuration first")
    cuts = groupings(store, runs)
    store.folder("").write(COMPARISON, render_comparison(store.root, runs, {"page made": code_line()}, cuts).encode())
    page = f"{store.root}/{COMPARISON}"
    return {"text": f"{text_table(HEADER, comparison_rows(runs))}\n\npage     {page}", "page": page, "groupings": cuts}


def finished_runs(store: Store) -> list[ComparedRun]:
    """The evaluated runs of a store, by name."""
    found = []
    for name in sorted(store.folder("").names(RUNS)):
        run = store.run(name)
        if run.exists(SUMMARY) and run.exists(CONFIG):
            config = redact(yaml.safe_load(run.read(CONFIG)))
            assert isinstance(config, dict)
            found.append(ComparedRun(name, run.read_json(SUMMARY), config))
    return found
