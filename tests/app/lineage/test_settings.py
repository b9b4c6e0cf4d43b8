from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from app.config.load import load_config
from app.core.records import Document
from app.corpora.sources import open_corpus
from app.lineage.settings import corpus_settings


def test_a_local_copy_is_read_from_another_folder_than_the_one_it_was_named_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "copy/multilingual/c4-de.tfrecord-00000-of-00001.json.gz"
    (tmp_path / "copy/multilingual").mkdir(parents=True)
    (tmp_path / name).write_bytes(gzip.compress(b'{"text": "Der Fluss", "url": "u", "timestamp": "t"}'))
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir(tmp_path)
    overrides = ["corpus.source=mc4", "corpus.path=copy", "corpus.languages=[de]"]
    settings = corpus_settings(load_config("demo", overrides=overrides))
    corpus = open_corpus(settings)
    files, names = corpus.files(), corpus.fingerprint()
    monkeypatch.chdir(tmp_path / "worker")
    read = [row.text for row in open_corpus(settings).read(files[0]) if isinstance(row, Document)]
    assert read == ["Der Fluss"]
    # The same corpus in another place is the same corpus.
    assert "copy" not in str(names) and open_corpus(settings).fingerprint() == names


def test_downloads_go_to_one_folder_wherever_a_worker_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert corpus_settings(load_config("demo", overrides=["corpus.staging=st"])).staging_dir == str(tmp_path / "st")


@pytest.mark.parametrize("path", ["", "s3://bucket/text", "text/*.jsonl"])
def test_a_path_of_files_stays_as_it_is(path: str) -> None:
    overrides = ["corpus.source=files", f"corpus.path={path}"]
    assert (corpus_settings(load_config("demo", overrides=overrides)).path or "") == path
