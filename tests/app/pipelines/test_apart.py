from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.core.records import JsonObject
from app.pipelines.apart import cuts_beside
from app.reporting.comparison import ComparedRun

DISTANCES = {"de": {"de": 0.0, "en": 0.2, "ja": 0.8}, "en": {"de": 0.2, "en": 0.0, "ja": 0.9}}
DISTANCES["ja"] = {"de": 0.8, "en": 0.9, "ja": 0.0}


def run_of(
    store: Store, name: str, clusters: list[list[str]] | None, nats: float, dense: str = "dense", documents: int = 20
) -> ComparedRun:
    """A finished run whose told ensemble says each token of each language at so many nats."""
    counts: JsonObject = {"experts": ["expert-00", "expert-01"], "unit": "language", "clusters": clusters}
    if clusters is None:
        counts = {"experts": ["expert-00", "expert-01"], "unit": "document"}
    store.stage("allocation", name).publish(Manifest("allocation", name, {}, {}, counts, 0.0))
    langs = [lang for lang in ("de", "en", "ja") for _ in range(documents)]
    sizes, lines = np.full(len(langs), 10), np.full(len(langs), -10.0)
    columns = {"lang": langs, "tokens": sizes, "bytes": sizes, "dense": 3 * lines, "seed": 4 * lines}
    sink = io.BytesIO()
    pq.write_table(pa.table({**columns, "ensemble_told": nats * lines}), sink)
    evaluation = store.stage("evaluation", name)
    evaluation.write("documents.parquet", sink.getvalue())
    keys = {"allocation": name, "evaluation": name, "tokens": "text", "seed": "seed", "dense": dense}
    store.run(name).write_json("run.json", {part: {"stage": part, "key": key} for part, key in keys.items()})
    return ComparedRun(name, {"allocation": f"cut of {name}"}, {})


def test_a_cut_is_compared_with_other_cuts_of_the_same_text_seed_budget_and_k(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path))
    runs = [
        run_of(store, "here", [["de", "en"], ["ja"]], 2.0),
        run_of(store, "apart", [["de", "ja"], ["en"]], 2.5),
        run_of(store, "budget", [["de", "ja"], ["en"]], 2.5, dense="longer"),
        run_of(store, "three", [["de"], ["en"], ["ja"]], 2.5),
        run_of(store, "documents", None, 2.5),
        run_of(store, "others", [["ja", "en"], ["de"]], 2.5, documents=21),
    ]
    (row,) = cuts_beside(store, "here", runs, DISTANCES, 50, 0)
    assert (row["run"], row["cut"], row["wins"]) == ("apart", "cut of apart", 3)
    assert row["mean_log_perplexity_ratio"] == pytest.approx(-0.5)
    assert (row["company"], row["other_company"]) == (pytest.approx(0.2), pytest.approx(0.8))
    assert "run others is not compared with: it was scored on other documents" in caplog.text
    assert cuts_beside(store, "documents", runs, DISTANCES, 50, 0) == []
