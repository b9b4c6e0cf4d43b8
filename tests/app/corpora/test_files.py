from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.errors import CorpusError
from app.core.records import Document
from app.corpora.base import CorpusSettings
from app.corpora.files import FilesCorpus

CORPUS = os.environ.get("XELM_CORPUS", "")


def _corpus(path: Path | str, *languages: str, **options: int) -> FilesCorpus:
    return FilesCorpus(CorpusSettings(source="files", path=str(path), languages=languages, **options))


def _write(root: Path, name: str, *texts: str, **columns: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps({"text": text, **columns}) + "\n" for text in texts).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".zst"):
        data = bytes(pa.compress(data, codec="zstd", asbytes=True))
    file.write_bytes(data)
    return file


def _found(corpus: FilesCorpus) -> dict[str, tuple[str | None, str | None]]:
    return {Path(file.uri).name: (file.lang, file.split) for file in corpus.files()}


def _texts(corpus: FilesCorpus) -> list[tuple[str, str]]:
    rows = [row for file in corpus.files() for row in corpus.read(file)]
    return [(row.lang, row.text) if isinstance(row, Document) else (row.reason, row.sample) for row in rows]


def test_mc4_names_give_language_and_split_whatever_the_version_or_folder(tmp_path: Path) -> None:
    names = {
        "c4-iw.tfrecord-00000-of-00001.json.gz": ("he", "train"),
        "c4-iw-validation.tfrecord-00000-of-00001.json.gz": ("he", "validation"),
        "c4-ar.00064-00065.json.gz": ("ar", "train"),
        "c4-hi-Latn.tfrecord-00000-of-00016.json.gz": ("hi-Latn", "train"),
        "c4-bg-Latn-validation.tfrecord-00000-of-00001.json.gz": ("bg-Latn", "validation"),
        "c4-und.tfrecord-00000-of-00001.json.gz": ("und", "train"),
    }
    for name in names:
        _write(tmp_path, f"fr/{name}", "text")
    assert _found(_corpus(tmp_path)) == names


def test_folders_give_language_and_split(tmp_path: Path) -> None:
    _write(tmp_path, "de/a.jsonl", "x")
    _write(tmp_path, "fra_Latn/validation/b.jsonl.zst", "x")
    _write(tmp_path, "data/sw/train/2020/c.json.gz", "x")
    _write(tmp_path, "en/train-00000-of-00002.jsonl", "x")
    _write(tmp_path, "en/c4-validation.00000-of-00008.json.gz", "x")
    _write(tmp_path, "en/test/d.jsonl", "x")
    _write(tmp_path, ".cache/de/e.jsonl", "x")
    _write(tmp_path, "f.jsonl", "x")
    assert _found(_corpus(tmp_path)) == {
        "a.jsonl": ("de", None),
        "b.jsonl.zst": ("fr", "validation"),
        "c.json.gz": ("sw", "train"),
        "train-00000-of-00002.jsonl": ("en", "train"),
        "c4-validation.00000-of-00008.json.gz": ("en", "validation"),
        "f.jsonl": (None, None),
    }


def test_the_path_itself_may_be_a_languages_folder_a_file_or_a_glob(tmp_path: Path) -> None:
    file = _write(tmp_path, "my/corpus/de/train/a.jsonl", "x")
    _write(tmp_path, "my/corpus/de/train/b.jsonl", "x")
    assert _found(_corpus(tmp_path / "my/corpus/de", "de")) == {"a.jsonl": ("de", "train"), "b.jsonl": ("de", "train")}
    assert _found(_corpus(file, "de")) == {"a.jsonl": ("de", "train")}
    assert _found(_corpus(tmp_path / "my/corpus/*/train/a.*")) == {"a.jsonl": ("de", "train")}
    assert _found(_corpus(tmp_path / "my/**/b.jsonl")) == {"b.jsonl": ("de", "train")}


def test_a_folder_above_the_corpus_never_names_its_language(tmp_path: Path) -> None:
    _write(tmp_path, "fr/my/texts/a.jsonl", "x")
    assert _found(_corpus(tmp_path / "fr/my/texts")) == {"a.jsonl": (None, None)}


def test_a_wanted_languages_folder_counts_before_a_nearer_one(tmp_path: Path) -> None:
    _write(tmp_path, "de/new/a.jsonl", "x")  # "new" is Newari too
    assert _found(_corpus(tmp_path, "de")) == {"a.jsonl": ("de", None)}


def test_only_configured_languages_are_read(tmp_path: Path) -> None:
    _write(tmp_path, "de/a.jsonl", "Haus")
    _write(tmp_path, "fr/b.jsonl", "maison")
    _write(tmp_path, "mixed.jsonl", "hus", lang="sv")
    _write(tmp_path, "mixed-2.jsonl", "Hof", lang="deu_Latn")
    assert sorted(_texts(_corpus(tmp_path, "de"))) == [("de", "Haus"), ("de", "Hof"), ("other_language", "sv")]


def test_a_rows_own_language_is_believed_over_the_only_configured(tmp_path: Path) -> None:
    _write(tmp_path, "a.jsonl", "hus", lang="sv")
    _write(tmp_path, "b.jsonl", "Haus")
    assert _texts(_corpus(tmp_path, "de")) == [("other_language", "sv"), ("de", "Haus")]


def test_every_format_is_read_from_another_file_system(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.jsonl", "b.json.gz", "c.jsonl.zst"):
        memory.pipe(f"/corpus-of-files/de/{name}", _write(tmp_path, name, name).read_bytes())
    pq.write_table(pa.table({"text": ["d.parquet"]}), tmp_path / "d.parquet")
    memory.pipe("/corpus-of-files/de/d.parquet", (tmp_path / "d.parquet").read_bytes())
    try:
        expected = [("de", name) for name in ("a.jsonl", "b.json.gz", "c.jsonl.zst", "d.parquet")]
        assert _texts(_corpus("memory://corpus-of-files")) == expected
        assert _texts(_corpus("memory://corpus-of-files/*/*.gz")) == expected[1:2]
    finally:
        memory.rm("/corpus-of-files", recursive=True)


def test_links_are_followed_as_in_the_hubs_cache(tmp_path: Path) -> None:
    blob = _write(tmp_path, "blobs/abc", "Haus")
    (tmp_path / "snapshot/de").mkdir(parents=True)
    (tmp_path / "snapshot/de/a.jsonl").symlink_to(blob)
    assert _texts(_corpus(tmp_path / "snapshot")) == [("de", "Haus")]


def test_a_corrupt_file_does_not_stop_the_others(tmp_path: Path) -> None:
    packed = _write(tmp_path, "de/a.json.gz", "x" * 1000).read_bytes()
    (tmp_path / "de/a.json.gz").write_bytes(packed[:20])
    _write(tmp_path, "de/b.json.gz", "Haus")
    assert [kind for kind, _ in _texts(_corpus(tmp_path))] == ["corrupt_stream", "de"]


def test_limit_of_files_is_per_language_and_split(tmp_path: Path) -> None:
    for name in ("de/a.jsonl", "de/b.jsonl", "fr/c.jsonl", "de/validation/d.jsonl", "de/validation/e.jsonl"):
        _write(tmp_path, name, "x")
    assert set(_found(_corpus(tmp_path, max_files_per_language=1))) == {"a.jsonl", "c.jsonl", "d.jsonl"}


def test_fingerprint_is_the_same_in_another_place_and_another_for_other_content(tmp_path: Path) -> None:
    for place in ("one", "two"):
        _write(tmp_path, f"{place}/de/a.jsonl", "Haus")
    one = _corpus(tmp_path / "one").fingerprint()
    assert one == _corpus(tmp_path / "two").fingerprint() == json.loads(json.dumps(one))
    _write(tmp_path, "two/de/a.jsonl", "Hausboot")
    assert one != _corpus(tmp_path / "two").fingerprint()


@pytest.mark.parametrize(
    ("names", "languages", "message"),
    [
        ([], (), "does not exist or is empty"),
        (["a.txt", "b.csv", "LICENSE"], (), r"3 files \(.csv, .txt, no suffix\) but none of .*jsonl.*parquet"),
        (["de/a.jsonl"], ("de", "fr", "sw"), "none to use for fr, sw; languages found: de"),
        (["de/test/a.jsonl"], (), "languages found: de"),
        (["c4-xx.tfrecord-00000-of-00001.json.gz"], (), r"c4-xx.*unknown language 'xx'.*xh.*rename"),
    ],
)
def test_no_usable_file_is_an_error_that_says_what_was_found(
    tmp_path: Path, names: list[str], languages: tuple[str, ...], message: str
) -> None:
    for name in names:
        _write(tmp_path, name, "x")
    with pytest.raises(CorpusError, match=message):
        _corpus(tmp_path, *languages).files()


@pytest.mark.parametrize(
    ("path", "message"),
    [("", "needs corpus.path"), ("nowhere://x", "nowhere"), ("/does/not/exist", "does not exist")],
)
def test_a_path_that_cannot_be_opened_is_named(path: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        _corpus(path).files()


@pytest.mark.skipif(not Path(CORPUS).is_dir() or not CORPUS, reason="XELM_CORPUS names no folder with a real corpus")
def test_a_real_corpus_in_mc4_layout_is_read_with_few_rejects() -> None:
    corpus = _corpus(CORPUS)
    counts: Counter[str] = Counter()
    for file in corpus.files():
        counts.update("ok" if isinstance(row, Document) else row.reason for row in corpus.read(file))
    assert {file.split for file in corpus.files()} == {"train", "validation"}
    assert len({file.lang for file in corpus.files()}) >= 2
    assert counts["ok"] >= 0.99 * counts.total() > 0
