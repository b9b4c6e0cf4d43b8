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
from app.corpora.unread import OTHER_LANGUAGE

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
        "c4-ar.00064-00065.json.gz": ("ar", None),  # nothing is named to be held out: by hash
        "c4-hi-Latn.tfrecord-00000-of-00016.json.gz": ("hi-Latn", None),
        "c4-bg-Latn-validation.tfrecord-00000-of-00001.json.gz": ("bg-Latn", "validation"),
        "c4-und.tfrecord-00000-of-00001.json.gz": ("und", None),
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
        "c.json.gz": ("sw", None),
        "train-00000-of-00002.jsonl": ("en", "train"),
        "c4-validation.00000-of-00008.json.gz": ("en", "validation"),
        "f.jsonl": (None, None),
    }


def test_the_path_itself_may_be_a_languages_folder_a_file_or_a_glob(tmp_path: Path) -> None:
    file = _write(tmp_path, "my/corpus/de/validation/a.jsonl", "x")
    _write(tmp_path, "my/corpus/de/validation/b.jsonl", "x")
    a, b = {"a.jsonl": ("de", "validation")}, {"b.jsonl": ("de", "validation")}
    assert _found(_corpus(tmp_path / "my/corpus/de", "de")) == {**a, **b}
    assert _found(_corpus(file, "de")) == a
    assert _found(_corpus(tmp_path / "my/corpus/*/validation/a.*")) == a
    assert _found(_corpus(tmp_path / "my/**/b.jsonl")) == b
    assert _found(_corpus(tmp_path / "my/corpus/de/validation/[b].jsonl", "de")) == b


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


def test_each_file_is_in_the_language_of_its_name_and_not_in_the_only_configured(tmp_path: Path) -> None:
    _write(tmp_path, "de.jsonl", "Haus", "Hof")
    _write(tmp_path, "en.jsonl", "house")
    corpus = _corpus(tmp_path, "de")
    assert _texts(corpus) == [("de", "Haus"), ("de", "Hof")]
    (left,) = corpus.survey().unread
    assert (left.name, left.why) == ("en.jsonl", OTHER_LANGUAGE)
    assert left.taken_for == "en by file name"


@pytest.mark.parametrize("name", ["lang=en/a.jsonl", "language=eng_Latn/a.jsonl", "en.JSONL", "en-train-00000.jsonl"])
def test_every_usual_name_of_a_language_is_believed_over_the_only_configured(tmp_path: Path, name: str) -> None:
    _write(tmp_path, name, "house")
    _write(tmp_path, "de/a.jsonl", "Haus")
    assert _texts(_corpus(tmp_path, "de")) == [("de", "Haus")]


def test_a_column_language_is_a_language(tmp_path: Path) -> None:
    _write(tmp_path, "a.jsonl", "house", language="en")
    _write(tmp_path, "b.jsonl", "Haus", language="de")
    assert _texts(_corpus(tmp_path, "de")) == [("other_language", "en"), ("de", "Haus")]


def test_a_folder_that_looks_like_a_code_does_not_take_rows_that_say_otherwise(tmp_path: Path) -> None:
    _write(tmp_path, "my_text/a.jsonl", "Haus", lang="de")
    _write(tmp_path, "new/b.jsonl", "Hof", lang="de")  # Newari, if nobody objects
    _write(tmp_path, "c.jsonl", "Garten", lang="de")
    assert sorted(_texts(_corpus(tmp_path, "de"))) == [("de", "Garten"), ("de", "Haus"), ("de", "Hof")]


def test_what_was_understood_is_told_with_the_number_of_files(tmp_path: Path) -> None:
    for name in ("de.jsonl", "sw/a.jsonl", "sw/b.jsonl", "c.jsonl", "c4-sw.tfrecord-00000-of-00001.json.gz"):
        _write(tmp_path, name, "x")
    told = _corpus(tmp_path, "de", "sw").survey().understood
    assert "5 files to read" in told[0]
    assert "de by file name (1); sw by file names of mC4 (1); sw by folders (2)" in told[0]
    assert "no language by name (1): their rows say" in told[0]
    (tmp_path / "sw/a.jsonl").unlink()
    assert "de where they say none" in _corpus(tmp_path / "*.jsonl", "de").survey().understood[0]


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


def test_all_of_a_linked_folder_is_read(tmp_path: Path) -> None:
    _write(tmp_path, "corpus/de/a.jsonl", *(f"{n}" for n in range(10)))
    _write(tmp_path, "elsewhere/b.jsonl", *(f"{n}" for n in range(90)))
    (tmp_path / "corpus/de/more").symlink_to(tmp_path / "elsewhere")
    assert len(_texts(_corpus(tmp_path / "corpus"))) == 100


def test_six_of_eight_files_as_git_lfs_pointers_stop_and_one_of_eight_is_named(tmp_path: Path) -> None:
    for number in range(8):
        _write(tmp_path, f"de/{number}.json.gz", *(f"{n}" for n in range(99)))
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 800\n"
    (tmp_path / "de/0.json.gz").write_text(pointer)
    (unread,) = _corpus(tmp_path).survey().unread
    assert unread.name == "de/0.json.gz" and "git lfs pull" in unread.why and unread.size_bytes == 800
    for number in range(1, 6):
        (tmp_path / f"de/{number}.json.gz").write_text(pointer)
    with pytest.raises(CorpusError, match=r"most of it would not be read: 6 files.*Git LFS pointer"):
        _corpus(tmp_path).files()


def test_other_kinds_of_file_are_named_and_refused_where_they_are_most(tmp_path: Path) -> None:
    _write(tmp_path, "de/a.jsonl", "Haus" * 100)
    _write(tmp_path, "de/b.csv", "Hof")
    _write(tmp_path, "de/empty.jsonl")
    _write(tmp_path, "de/test/c.jsonl", "Prüfung")
    assert {file.name: file.why.partition(",")[0] for file in _corpus(tmp_path).survey().unread} == {
        "de/b.csv": "no known kind of text file",
        "de/empty.jsonl": "empty",
        "de/test/c.jsonl": "test split",
    }
    _write(tmp_path, "de/b.csv", "Hof" * 1000)
    with pytest.raises(CorpusError, match=r"most of it would not be read: 1 file with 2\.9 KiB.*b\.csv.*glob"):
        _corpus(tmp_path).files()
    assert len(_corpus(tmp_path / "**/*.jsonl").files()) == 1  # the cure


@pytest.mark.parametrize("folder", ["text[1]", "one::two", "what?", "a*b"])
def test_a_place_is_meant_literally_where_it_exists(tmp_path: Path, folder: str) -> None:
    _write(tmp_path, f"{folder}/de/a.jsonl", "Haus")
    pq.write_table(pa.table({"text": ["Hof"]}), tmp_path / folder / "de/b.parquet")
    assert _texts(_corpus(tmp_path / folder)) == [("de", "Haus"), ("de", "Hof")]


def test_a_language_whose_files_are_all_named_train_has_its_held_out_part_by_hash(tmp_path: Path) -> None:
    for name in ("de/train/a.jsonl", "de/train/b.jsonl", "fr/train/c.jsonl", "fr/dev/d.jsonl"):
        _write(tmp_path, name, "x")
    assert {name: split for name, (_, split) in _found(_corpus(tmp_path)).items()} == {
        "a.jsonl": None,
        "b.jsonl": None,
        "c.jsonl": "train",
        "d.jsonl": "validation",
    }


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
        (["de/test/a.jsonl"], (), "languages found: de by folder 'de'"),
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
