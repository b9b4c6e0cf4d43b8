"""The run's result: a table for the terminal, a CSV, and the page."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import cast

from app.allocation.typological import language_tree
from app.allocation.uriel import known_count, read_typology, syntax_features
from app.artifacts.layout import (
    ADAPTATIONS,
    CONFIG,
    DATA_CARD,
    PROBE_FOUND,
    REPORT,
    RUN,
    SAMPLES,
    SUMMARY,
    TABLE_CSV,
    TOP_TERMS,
    Stage,
)
from app.artifacts.store import Folder, StageFolder, Store
from app.config.load import resolved
from app.config.schema import Config
from app.core.records import JsonObject, JsonValue
from app.evaluation.published import load_published, published_baseline, published_matrix
from app.fleet.control import metrics_rows
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import allocation_settings
from app.lineage.tasks import named
from app.pipelines.about import about_run
from app.pipelines.compare import finished_runs
from app.pipelines.cross_lingual import cross_lingual_answers
from app.pipelines.groupings import groupings_beside
from app.planning.ledger import model_records
from app.planning.plan import price_record
from app.reporting.html import ReportRecords, render_report
from app.reporting.tables import headline_text, table_csv, terminal_table

_SHOWN_PACKAGES = ("ray", "torch", "transformers", "tokenizers", "scikit-learn", "lang2vec", "Babel", "numpy")


def make_report(lineage: Lineage) -> Made:
    """Render ``report/index.html`` and ``evaluation/table.csv`` in the run folder from what is in the store."""
    run = lineage.run
    summary = run.read_json(SUMMARY)
    run.write(TABLE_CSV, table_csv(summary).encode())
    run.write(REPORT, render_report(_records(lineage, summary)).encode())
    return {}


def result_text(lineage: Lineage) -> str:
    """What the demo prints at its end: the table, the headline, and where the page is."""
    run = lineage.run
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
        ]
    )


def _records(lineage: Lineage, summary: JsonObject) -> ReportRecords:
    config, store = lineage.config, lineage.store
    shards, tokens, allocation = (
        planned.finished() for planned in (lineage.shards, lineage.tokens, lineage.allocation)
    )
    models = [*lineage.baselines, *lineage.experts]
    made = lineage.run.read_json(RUN)
    return ReportRecords(
        summary=summary,
        allocation=dict(allocation.manifest().counts),
        merges=_merges(config, lineage.languages),
        features=_features(config, lineage.languages),
        # Cuts by documents write terms, cuts by a probe write distances; all others neither.
        terms=allocation.read_json(TOP_TERMS) if allocation.exists(TOP_TERMS) else {},
        probe=allocation.read_json(PROBE_FOUND) if allocation.exists(PROBE_FOUND) else {},
        adaptation=_newest_round(lineage.run),
        groupings=groupings_beside(store, config.run.name, finished_runs(store)),
        cross_lingual=cross_lingual_answers(lineage, summary),
        samples=lineage.samples.folder.read_json(SAMPLES) if lineage.samples.is_complete else {},
        published=_published(config),
        data_card=shards.read_json(DATA_CARD),
        tokens=dict(tokens.manifest().counts),
        models=model_records(config, store, {**_trained_seed(lineage), **named(models)}),
        prices=price_record(config),
        curves={task.name: _curve(task.stage) for task in models},
        about=about_run(config, shards.manifest().counts),
        lineage=made,
        config=resolved(config),
        environment=_environment(),
        stages={name: _work(store, entry) for name, entry in made.items()},
    )


def _newest_round(run: Folder) -> JsonObject:
    """What the last round of adaptation found; empty without any."""
    # Names are version numbers of a fixed width, so the last by name is the newest.
    rounds = sorted(name for name in run.names(ADAPTATIONS) if name.endswith(".json"))
    return run.read_json(f"{ADAPTATIONS}/{rounds[-1]}") if rounds else {}


def _trained_seed(lineage: Lineage) -> Made:
    """The seed, where it was trained for this project; a copied one took nothing."""
    return {"seed": lineage.seed.folder} if lineage.config.seed.source == "trained" else {}


def _features(config: Config, languages: Sequence[str]) -> dict[str, int]:
    """Known syntax features of each language itself, borrowed ones not counted; empty for a cut without a tree."""
    shown = languages if config.allocation.strategy == "typological" else ()
    return {lang: known_count(syntax_features(lang)) for lang in shown}


def _merges(config: Config, languages: Sequence[str]) -> list[JsonObject]:
    """The typological tree; empty for any other cut."""
    if config.allocation.strategy != "typological":
        return []
    settings = allocation_settings(config)
    tree = language_tree(read_typology(languages, settings.min_features, settings.fallback), settings.linkage)
    return [{"left": list(left), "right": list(right), "distance": distance} for left, right, distance in tree]


def _published(config: Config) -> JsonObject:
    """The published matrix of the same strategy and k, else of the nearest k; empty for other strategies."""
    known = [row for row in load_published() if row.allocation == config.allocation.strategy and row.expert is not None]
    if not known:
        return {}
    row = min(known, key=lambda row: abs(row.k - config.allocation.k))
    matrix: JsonObject = dict(published_matrix(row.allocation, row.k))
    return {
        "allocation": row.allocation,
        "k": row.k,
        "matrix": matrix,
        "baseline": dict(published_baseline()),
        "source": row.source,
    }


def _curve(model: StageFolder) -> list[tuple[float, float]]:
    """(tokens seen, loss) of each logged step of a model."""
    return [(float(str(row["tokens_seen"])), float(str(row["loss"]))) for row in metrics_rows(model)]


def _work(store: Store, entry: JsonValue) -> JsonObject:
    """Seconds of one stage, and the documents that it handled."""
    assert isinstance(entry, dict)
    manifest = store.stage(cast(Stage, entry["stage"]), str(entry["key"])).manifest()
    done: JsonObject = {"seconds": manifest.seconds}
    if manifest.stage == "shards":
        done["documents"] = manifest.counts["documents"]
    elif manifest.stage == "tokens":
        parts = [part for part in manifest.counts.values() if isinstance(part, dict)]
        done["documents"] = sum(int(str(part["documents"])) for part in parts)
    return done


def _environment() -> JsonObject:
    versions: JsonObject = {name: metadata.version(name) for name in _SHOWN_PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}
