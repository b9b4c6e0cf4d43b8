"""The whole of ``jobs.all`` while nodes are lost, small: it really starts three raylets and kills five."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from benchmarks.scale_faults import STRUCK, sharded, write_text
from benchmarks.text import LANGUAGES


def test_the_text_is_in_mc4s_layout_and_its_documents_are_counted(tmp_path: Path) -> None:
    documents = write_text(tmp_path / "text", 400_000)
    lines = {}
    for file in sorted((tmp_path / "text").iterdir()):
        with gzip.open(file, "rt", encoding="utf-8") as opened:
            lines[file.name] = [json.loads(line)["text"] for line in opened]
    assert set(lines) == {f"c4-{lang}.tfrecord-00000-of-00001.json.gz" for lang in LANGUAGES}
    assert sum(map(len, lines.values())) == documents
    for texts in lines.values():
        size = sum(len(text.encode()) for text in texts)
        assert 25_000 <= size <= 25_000 + max(len(text.encode()) for text in texts)


def test_documents_of_shards_that_are_not_finished_do_not_count(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert sharded(store) == 0
    store.stage("shards", "begun").write("de/train/part.parquet", b"")
    assert sharded(store) == 0
    store.stage("shards", "done").publish(Manifest("shards", "done", {}, {}, {"documents": 7}))
    assert sharded(store) == 7


@pytest.mark.rare
@pytest.mark.timeout(1200)
def test_a_node_lost_in_every_stage_loses_no_document_and_the_run_ends_well() -> None:
    command = [sys.executable, "-m", "benchmarks.scale_faults", "--megabytes", "48", "--after", "4", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    assert [strike["stage"] for strike in record["strikes"]] == list(STRUCK) and record["not_struck"] == []
    assert record["documents_sharded"] == record["documents_written"] > 0
    assert record["driver_peak_bytes"] > 0 and set(STRUCK) <= set(record["stage_seconds"])
