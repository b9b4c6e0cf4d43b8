from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import MissingArtifact
from app.pipelines.compare import compare_runs, finished_runs
from tests.app.reporting.test_comparison import run


def test_finished_runs_of_a_store_are_compared_and_others_left_out(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name in ("b", "a"):
        made = run(name, -0.05, 1)
        store.run(name).write_json("evaluation/summary.json", made.summary)
        store.run(name).write("config.yaml", yaml.safe_dump(made.config).encode())
    store.run("unfinished").write("config.yaml", b"{}")
    assert [found.name for found in finished_runs(store)] == ["a", "b"]
    result = compare_runs(load_config("demo"), store)
    page = (tmp_path / "compare" / "index.html").read_text(encoding="utf-8")
    assert "2 finished runs" in page and str(result["text"]).splitlines()[1].startswith("a ")


def test_a_store_without_a_finished_run_names_the_job(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.evaluate"):
        compare_runs(load_config("demo"), Store(str(tmp_path)))
