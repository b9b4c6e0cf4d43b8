"""Our reader against the library most people use for the same files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets

from app.core.records import Document
from app.corpora.base import CorpusSettings
from app.corpora.sources import open_corpus


def test_mc4_files_read_as_the_datasets_library_reads_them(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rows = [
        {"text": f'नमस्ते {n}\nzweite Zeile \u2028 "{n}"', "timestamp": "2020-01-01T00:00:00Z", "url": f"u/{n}"}
        for n in range(300)
    ]
    with gzip.open(corpus / "c4-hi.tfrecord-00000-of-00001.json.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=n % 2 == 0) + "\n" for n, row in enumerate(rows))
    reader = open_corpus(CorpusSettings(source="files", path=str(corpus), languages=("hi",)))
    ours = [row for file in reader.files() for row in reader.read(file)]
    theirs = datasets.load_dataset(
        "json", data_files=str(corpus / "*.json.gz"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert all(isinstance(row, Document) for row in ours)
    assert [(row.text, row.url) for row in ours if isinstance(row, Document)] == [
        (row["text"], row["url"]) for row in theirs
    ]
