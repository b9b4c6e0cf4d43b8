from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.config.load import load_config
from app.core.records import Document
from app.corpora.base import SourceFile, document_id
from app.corpora.files import FilesCorpus
from app.corpora.shards import read_sidecar, shard_file
from app.lineage.settings import corpus_settings
from app.pipelines import duplicates
from app.pipelines.duplicates import count_duplicates, find_near_duplicates
from tests.support.duplicates import count_all_at_once, mark_all_at_once

pytestmark = pytest.mark.ray


@pytest.fixture
def small_slices(ray_running: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that even few documents are cut into several."""
    assert ray_running is None
    monkeypatch.setattr(duplicates, "_ROWS_AT_ONCE", 20)


def test_near_duplicates_are_those_that_are_found_with_all_in_memory(small_slices: None, tmp_path: Path) -> None:
    assert small_slices is None
    (tmp_path / "in").mkdir()
    for name in range(4):
        texts = [f"{'ab cd ef gh '[number % 5 :] * 9}{number * (name + 1) % 7} {number // 3}" for number in range(30)]
        lines = [json.dumps({"text": text}) + "\n" for text in texts]
        (tmp_path / f"in/{name}.jsonl").write_text("".join(["no json\n", *lines]))
    where = (f"corpus.path={tmp_path / 'in'}", "corpus.source=files", "corpus.languages=de")
    config = load_config("demo", overrides=[*where, "corpus.near_duplicates=minhash"])
    corpus, stage = FilesCorpus(corpus_settings(config)), Folder(str(tmp_path / "stage"))
    files = corpus.files()
    marks = find_near_duplicates(config, files, stage)
    expected = mark_all_at_once([corpus.read(file) for file in files], 0.8)
    assert len(marks.names) == 9 * 8 and 10 < sum(map(len, expected)) < 110
    assert [sorted(marks.of(f"{number:05d}")) for number in range(4)] == expected
    again = find_near_duplicates(config, files, stage)
    assert again == marks


def test_duplicates_are_counted_within_training_and_across_the_split(small_slices: None, tmp_path: Path) -> None:
    assert small_slices is None
    stage, documents, sizes = Folder(str(tmp_path / "stage")), dict[str, int](), dict[str, int]()
    for number, (lang, split) in enumerate([("de", "train"), ("de", "train"), ("de", "validation"), ("sw", "train")]):
        texts = [f"{place % (31 + number)}" for place in range(40)]
        rows = [Document(document_id(lang, text), lang, text, "", "") for text in texts]
        shard_file(rows, SourceFile("f", lang, split), number, stage, 0.0, 30)
        for name, count in read_sidecar(stage, number).documents.items():
            documents[name] = documents.get(name, 0) + count
            sizes[name] = sizes.get(name, 0) + 100
    found = count_duplicates(load_config("demo"), stage, documents, sizes)
    assert found == {lang: count_all_at_once(stage, lang) for lang in ("de", "sw")}
    assert found == {"de": (80 - 32, 39), "sw": (6, 0)}  # 0 to 30, and 0 to 31; 32 is held out alone; 0 to 33 of 40
    assert not stage.exists("digests")
