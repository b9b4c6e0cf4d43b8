from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from app.artifacts.layout import PROBE_FOUND
from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.core.records import JsonObject
from app.pipelines.groupings import groupings, groupings_beside
from app.reporting.comparison import ComparedRun
from tests.app.pipelines.test_assign import write

LANGUAGES = ("de", "en", "fr", "ru")


def run_of(
    store: Store, name: str, clusters: list[list[str]] | None, changes: list[float], second: Sequence[int] = (0, 1)
) -> ComparedRun:
    """A finished run: two documents of each language, or four in two parts; second: experts of the second part."""
    counts: JsonObject = {"experts": ["expert-00", "expert-01"], "unit": "language", "clusters": clusters}
    stage = store.stage("allocation", name)
    if clusters is None:
        counts = {
            "experts": ["expert-00", "expert-01"],
            "unit": "document",
            "documents": {lang: np.bincount([0, 1, *second], minlength=2).tolist() for lang in LANGUAGES},
        }
        for lang in LANGUAGES:
            write(stage, f"documents/{lang}/part-0.parquet", expert=[0, 1])
            write(stage, f"documents/{lang}/part-1.parquet", expert=list(second))
    stage.publish(Manifest("allocation", name, {}, {}, counts, 0.0))
    tokens = store.stage("tokens", "text")
    sizes: JsonObject = {f"{lang}/train": {"documents": 2} for lang in LANGUAGES}
    tokens.publish(Manifest("tokens", "text", {}, {}, sizes, 0.0))
    made: JsonObject = {
        "allocation": {"stage": "allocation", "key": name},
        "tokens": {"stage": "tokens", "key": "text"},
    }
    store.run(name).write_json("run.json", made)
    table: JsonObject = {
        lang: {"ensemble": {"change_from_dense": change}} for lang, change in zip(LANGUAGES, changes, strict=True)
    }
    return ComparedRun(name, {"per_language": table}, {})


def only_pair(found: JsonObject) -> dict[str, Any]:
    """The one row of ``agreement``."""
    rows = found["agreement"]
    assert isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], dict)
    return rows[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_cuts_of_languages_agree_over_languages_and_others_over_documents(store: Store) -> None:
    near = run_of(store, "near", [["de", "en"], ["fr", "ru"]], [-0.2, -0.2, -0.1, -0.1])
    far = run_of(store, "far", [["de", "ru"], ["fr", "en"]], [-0.1, -0.1, -0.1, 0.0])
    split = run_of(store, "split", None, [0.1] * 4)
    found = groupings(store, [near, far, split])
    rows = {(row["one"], row["other"]): row for row in found["agreement"]}  # type: ignore[index,union-attr,call-overload]
    assert rows["near", "far"]["over"] == "languages" and rows["near", "far"]["rand"] == pytest.approx(-0.5)
    assert rows["near", "split"]["over"] == "documents"
    assert rows["near", "split"]["information"] == pytest.approx(0.0, abs=1e-9)
    assert found["balance"] == {"near": 1.0, "far": 1.0, "split": 1.0}


def test_two_cuts_of_documents_are_compared_document_by_document_of_all_parts(store: Store) -> None:
    one, other = run_of(store, "one", None, [0.1] * 4), run_of(store, "other", None, [0.1] * 4, second=(0, 0))
    row = only_pair(groupings(store, [one, other]))
    labels = [[0, 1, 0, 1] * 4, [0, 1, 0, 0] * 4]
    assert row["over"] == "documents"
    assert row["rand"] == pytest.approx(adjusted_rand_score(*labels))
    assert row["information"] == pytest.approx(normalized_mutual_info_score(*labels))


def test_a_cut_of_languages_beside_one_of_documents_needs_no_document(store: Store) -> None:
    whole = run_of(store, "whole", [["de", "en"], ["fr", "ru"]], [0.1] * 4)
    split = run_of(store, "split", None, [0.1] * 4)
    store.stage("allocation", "split").remove("documents")
    row = only_pair(groupings(store, [whole, split]))
    assert row["over"] == "documents"
    assert row["rand"] == pytest.approx(adjusted_rand_score([0] * 8 + [1] * 8, [0, 1] * 8))


def test_a_probe_of_one_run_is_tried_on_all(store: Store) -> None:
    near = run_of(store, "near", [["de", "en"], ["fr", "ru"]], [-0.2, -0.2, -0.1, -0.1])
    far = run_of(store, "far", [["de", "ru"], ["fr", "en"]], [-0.1, -0.1, -0.05, 0.0])
    distances = np.full((4, 4), 0.9)
    distances[0, 1] = distances[1, 0] = distances[2, 3] = distances[3, 2] = 0.1
    record: JsonObject = {"probe": "gradient", "languages": list(LANGUAGES), "distances": distances.tolist()}
    store.stage("allocation", "far").write_json(PROBE_FOUND, record)
    told = groupings(store, [near, far])["predicted"]
    assert isinstance(told, dict)
    assert told["gradient"]["correlation"] > 0.8 and told["gradient"]["cases"] == 8, "nearer company gained more"
    # The same models, evaluated in another way.
    again = ComparedRun("again", near.summary, {})
    store.run("again").write_json("run.json", store.run("near").read_json("run.json"))
    assert groupings(store, [near, far, again])["predicted"] == told


def test_what_only_the_number_of_experts_changes_is_not_predicted_by_nearness(store: Store) -> None:
    of_two = [[["de", "en"], ["fr", "ru"]], [["de", "fr"], ["en", "ru"]]]
    of_three = [[["de", "en"], ["fr"], ["ru"]], [["de", "fr"], ["en"], ["ru"]]]
    runs = [run_of(store, f"two-{n}", clusters, [-0.1] * 4) for n, clusters in enumerate(of_two)]
    runs += [run_of(store, f"three-{n}", clusters, [-0.2] * 4) for n, clusters in enumerate(of_three)]
    assert groupings(store, runs)["predicted"] == {}


def test_a_run_stands_beside_each_other_cut_of_its_text_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    near = run_of(store, "near", [["de", "en"], ["fr", "ru"]], [-0.2] * 4)
    far = run_of(store, "far", [["de", "ru"], ["fr", "en"]], [-0.1] * 4)
    again, other, torn = (ComparedRun(name, far.summary, {}) for name in ("far-seed1", "other-text", "torn"))
    store.run("far-seed1").write_json("run.json", store.run("far").read_json("run.json"))
    made = store.run("far").read_json("run.json")
    store.run("other-text").write_json("run.json", made | {"tokens": {"stage": "tokens", "key": "elsewhere"}})
    store.run("torn").write_json("run.json", made | {"allocation": {"stage": "allocation", "key": "torn"}})
    store.stage("allocation", "torn").write("DONE", b"")
    found = groupings_beside(store, "near", [again, far, near, other, torn])
    assert [(row["one"], row["other"]) for row in found["agreement"]] == [("near", "far")]  # type: ignore[index,union-attr,call-overload]
    assert found["balance"] == {"near": 1.0, "far": 1.0}
    assert "torn is not compared with" in caplog.text
    assert groupings_beside(store, "near", [near, other]) == {}


def test_a_run_of_experts_from_elsewhere_is_left_out(store: Store) -> None:
    found = groupings(store, [ComparedRun("imported", {"per_language": {}}, {})])
    assert found == {"agreement": [], "balance": {}, "predicted": {}}
