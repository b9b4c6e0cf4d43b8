from __future__ import annotations

import gzip
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.errors import CorpusError
from app.core.records import Document
from app.corpora.base import CorpusSettings
from app.corpora.hub import HubCorpus
from app.corpora.layouts import LAYOUTS
from tests.support.hub import FakeHub

MC4_NAMES = (
    "c4-en.tfrecord-00000-of-11264.json.gz",
    "c4-en.tfrecord-00001-of-11264.json.gz",
    "c4-en-validation.tfrecord-00000-of-00128.json.gz",
    "c4-iw.00064-00065-00066.json.gz",
    "c4-iw-validation.tfrecord-00000-of-00001.json.gz",
    "c4-hi.tfrecord-00000-of-01024.json.gz",
    "c4-hi-Latn.tfrecord-00000-of-00016.json.gz",
)
# Repositories as the Hub shows them: names of files, and the columns of a row.
FILES: Mapping[str, tuple[str, ...]] = {
    "mc4": tuple(f"multilingual/{name}" for name in MC4_NAMES),
    "culturax": ("he/he_part_00000.parquet", "zh/zh_part_00000.parquet", "zh/checksum.sha256", "README.md"),
    "madlad400": ("data/iw/iw_clean_0000.jsonl.gz", "data/iw/iw_noisy_0000.jsonl.gz", "data/zh/zh_clean_0000.jsonl.gz"),
    "madlad400-noisy": ("data/iw/iw_clean_0000.jsonl.gz", "data/iw/iw_noisy_0000.jsonl.gz"),
    "fineweb2": (
        "data/heb_Hebr/train/000_00000.parquet",
        "data/heb_Hebr/test/000_00000.parquet",
        "data/heb_Hebr_removed/train/000_00000.parquet",
        "data/cmn_Hani/train/000_00000.parquet",
    ),
    "hplt": (
        "heb_Hebr/train-00000-of-00001.parquet",
        "zho_Hans/train-00000-of-00001.parquet",
        "zho_Hant/train-00000-of-00001.parquet",
    ),
}
ROWS: Mapping[str, dict[str, Any]] = {
    "mc4": {"url": "u", "timestamp": "2019-01-02T00:00:00Z"},
    "culturax": {"url": "u", "timestamp": "2019/01/02 00:00:00", "source": "mC4"},
    "madlad400": {},
    "madlad400-noisy": {},
    "fineweb2": {"id": "i", "url": "u", "date": "2019-01-02T00:00:00Z", "language": "heb", "language_score": 0.9},
    "hplt": {"u": "u", "ts": "2019-01-02", "lang": ["heb_Hebr"], "seg_langs": ["heb_Hebr"], "id": "i"},
}


def _content(source: str, name: str) -> bytes:
    rows = [{"text": f"{name} {number}", **ROWS[source]} for number in range(50)]
    if name.endswith(".parquet"):
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    lines = "\n".join(map(json.dumps, rows)).encode()
    return bytes(pa.compress(lines, codec="zstd", asbytes=True)) if name.endswith(".zst") else gzip.compress(lines)


def _hub(source: str, revision: str = "abc", **options: Any) -> FakeHub:
    root = f"{LAYOUTS[source].repository}@{revision}"
    return FakeHub({f"{root}/{name}": _content(source, name) for name in FILES[source]}, **options)


def _corpus(source: str, hub: FakeHub, staging: Path, *languages: str, **options: Any) -> HubCorpus:
    settings = CorpusSettings(
        source=source, languages=languages, staging_dir=str(staging), **{"retries": 2, "revision": "abc", **options}
    )
    return HubCorpus(settings, lambda: hub, lambda _: None)


def _local(source: str, folder: Path, *languages: str, **options: Any) -> HubCorpus:
    return HubCorpus(CorpusSettings(source=source, path=str(folder), languages=languages, **options))


def _write(folder: Path, source: str, *names: str) -> Path:
    for name in names or FILES[source]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_content(source, name))
    return folder


@pytest.mark.parametrize("subfolder", ["multilingual", "."])
def test_a_local_copy_of_mc4_is_read_where_it_lies(tmp_path: Path, subfolder: str) -> None:
    for name in MC4_NAMES:
        place = tmp_path / "c4" / subfolder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(_content("mc4", name))
    corpus = _local("mc4", tmp_path / "c4", "iw", "en-multi", "hi")
    files = [(PurePosixPath(file.uri).name, file.lang, file.split) for file in corpus.files()]
    assert files == [
        (MC4_NAMES[3], "he", "train"),
        (MC4_NAMES[4], "he", "validation"),
        (MC4_NAMES[0], "en", "train"),
        (MC4_NAMES[1], "en", "train"),
        (MC4_NAMES[2], "en", "validation"),
        (MC4_NAMES[5], "hi", None),  # has no validation files: held out by hash
    ]
    rows = [row for row in corpus.read(corpus.files()[0]) if isinstance(row, Document)]
    assert [row.text for row in rows] == [f"{MC4_NAMES[3]} {n}" for n in range(50)]
    assert {row.lang for row in rows} == {"he"}


def test_a_copy_that_was_cloned_without_git_lfs_is_refused_with_the_cure(tmp_path: Path) -> None:
    root = _write(tmp_path, "mc4")
    for file in root.rglob("c4-en*"):
        file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 300000000\n")
    assert len(_local("mc4", root, "iw").files()) == 2
    with pytest.raises(CorpusError, match=r"3 files with 858.3 MiB.*git lfs pull"):
        _local("mc4", root, "en", "iw").files()


@pytest.mark.parametrize("source", LAYOUTS)
def test_every_layout_gives_its_languages_files_from_the_hub_and_from_a_copy(source: str, tmp_path: Path) -> None:
    expected = {
        "mc4": [MC4_NAMES[3], MC4_NAMES[4]],
        "culturax": ["he/he_part_00000.parquet"],
        "madlad400": ["iw/iw_clean_0000.jsonl.gz"],
        "madlad400-noisy": ["iw/iw_noisy_0000.jsonl.gz"],
        "fineweb2": ["heb_Hebr/train/000_00000.parquet"],
        "hplt": ["heb_Hebr/train-00000-of-00001.parquet"],
    }[source]
    hub = _corpus(source, _hub(source), tmp_path / "staging", "he")
    below = f"{LAYOUTS[source].repository}@abc/{LAYOUTS[source].root}".rstrip("/")
    assert [file.uri for file in hub.files()] == [f"{below}/{name}" for name in expected]
    copy = _local(source, _write(tmp_path / "copy", source), "he")
    assert [file["name"] for file in copy.fingerprint()["files"]] == expected  # type: ignore[index,union-attr,call-overload]
    for corpus in (hub, copy):
        (first, *_) = corpus.files()
        assert first.lang == "he" and first.split == ("train" if source == "mc4" else None)
        rows = [row for row in corpus.read(first) if isinstance(row, Document)]
        assert len(rows) == 50 and {row.lang for row in rows} == {"he"}
        if not source.startswith("madlad400"):
            assert {(row.url, row.timestamp[:4]) for row in rows} == {("u", "2019")}
    assert (tmp_path / "staging/abc" / expected[0]).is_file()


def test_every_folder_of_a_language_is_read_and_folders_that_name_none_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        files = _corpus("hplt", _hub("hplt"), tmp_path, "zh").files()
        assert [PurePosixPath(file.uri).parent.name for file in files] == ["zho_Hans", "zho_Hant"]
        _corpus("fineweb2", _hub("fineweb2"), tmp_path, "he").files()
    assert "1 folders are no language and left alone: heb_Hebr_removed" in caplog.text


def test_hplts_own_downloads_are_read_too(tmp_path: Path) -> None:
    corpus = _local("hplt", _write(tmp_path, "hplt", "kor_Hang/10_1.jsonl.zst"), "ko")
    rows = list(corpus.read(corpus.files()[0]))
    assert len(rows) == 50 and all(isinstance(row, Document) and row.url == "u" for row in rows)


def test_line_breaks_of_madlad400_are_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "data/de").mkdir(parents=True)
    (tmp_path / "data/de/de_clean_0000.jsonl.gz").write_bytes(
        gzip.compress(json.dumps({"text": r"eins\nzwei"}).encode())
    )
    corpus = _local("madlad400", tmp_path, "de")
    (document,) = corpus.read(corpus.files()[0])
    assert isinstance(document, Document) and document.text == "eins\nzwei"


def test_a_column_named_in_the_configuration_counts_before_the_layouts(tmp_path: Path) -> None:
    _write(tmp_path, "hplt", "heb_Hebr/train-00000-of-00001.parquet")
    columns = {"text": "text", "url": "id", "timestamp": "timestamp"}
    corpus = _local("hplt", tmp_path, "he", columns=columns)
    rows = list(corpus.read(corpus.files()[0]))
    assert {(row.url, row.timestamp) for row in rows if isinstance(row, Document)} == {("i", "2019-01-02")}


def test_documents_of_a_source_are_thinned_by_hash(tmp_path: Path) -> None:
    names = [f"de/de_part_{number:05d}.parquet" for number in range(40)]
    _write(tmp_path, "culturax", *names)
    corpora = [_local("culturax", tmp_path, "de", source_weights={"mC4": share}) for share in (0.0, 0.25, 0.5, 1.0)]
    kept = [
        {row.doc_id for file in corpus.files() for row in corpus.read(file) if isinstance(row, Document)}
        for corpus in corpora
    ]
    sizes = [len(ids) for ids in kept]
    assert sizes[0] == 0 and sizes[3] == 2000
    assert sizes[1:3] == pytest.approx([500, 1000], abs=100)  # five standard deviations
    assert kept[1] < kept[2] < kept[3]
    rows = [row for row in corpora[1].read(corpora[1].files()[0]) if not isinstance(row, Document)]
    assert {row.reason for row in rows} == {"thinned_source"} and rows[0].sample.startswith("mC4: ")


def test_a_weight_on_a_source_needs_the_column(tmp_path: Path) -> None:
    corpus = _local("madlad400", _write(tmp_path, "madlad400"), "zh", source_weights={"mC4": 0.5})
    reasons = {(row.reason, row.sample[:11]) for row in corpus.read(corpus.files()[0]) if not isinstance(row, Document)}
    assert reasons == {("missing_column", "no 'source'")}


def test_the_limit_of_files_is_per_language_and_split(tmp_path: Path) -> None:
    names = [
        PurePosixPath(f.uri).name for f in _corpus("mc4", _hub("mc4"), tmp_path, "en", max_files_per_language=1).files()
    ]
    assert names == [MC4_NAMES[0], MC4_NAMES[2]]


def test_a_language_without_files_and_no_language_at_all_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"datasets/allenai/c4 at abc has no file c4-sw\..*'sw'"):
        _corpus("mc4", _hub("mc4"), tmp_path, "sw").files()
    with pytest.raises(CorpusError, match=r"fineweb-2 at abc has no folder in data for language 'en'.*FineWeb-2"):
        _corpus("fineweb2", _hub("fineweb2"), tmp_path, "en").files()
    with pytest.raises(CorpusError, match=r"culturax needs corpus\.languages: all of it is 16 TB"):
        _corpus("culturax", _hub("culturax"), tmp_path)


def test_fingerprint_of_the_hub_needs_no_network_and_names_the_revision(tmp_path: Path) -> None:
    fingerprint = _corpus("mc4", _hub("mc4", failures=10**9), tmp_path, "iw", "en").fingerprint()
    assert (fingerprint["revision"], fingerprint["languages"]) == ("abc", ["en", "he"])


@pytest.mark.parametrize("source", LAYOUTS)
def test_without_a_revision_the_pinned_one_is_used(source: str, tmp_path: Path) -> None:
    pinned = LAYOUTS[source].revision
    corpus = _corpus(source, _hub(source, pinned), tmp_path, "he", revision=None)
    assert corpus.fingerprint()["revision"] == pinned
    assert f"@{pinned}/" in corpus.files()[0].uri


def test_a_converted_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="may be only a part"):
        _corpus("culturax", _hub("culturax"), tmp_path, "he", revision="refs/convert/parquet")


def test_a_copy_of_the_wrong_files_is_refused_with_the_cure(tmp_path: Path) -> None:
    _write(tmp_path / "a", "mc4", "en/c4-train.00000-of-01024.json.gz")
    with pytest.raises(CorpusError, match=r"plain C4 .*use en-multi"):
        _local("mc4", tmp_path / "a" / "en", "en").files()
    _write(tmp_path / "b", "culturax", "de/partial-train/0000.parquet")
    with pytest.raises(CorpusError, match="only a part"):
        _local("culturax", tmp_path / "b", "de").files()


@pytest.mark.parametrize("keep", [False, True])
def test_a_file_of_which_nothing_more_is_read_is_removed_unless_it_is_to_be_kept(tmp_path: Path, keep: bool) -> None:
    corpus = _corpus("mc4", _hub("mc4"), tmp_path, "iw", keep_staged=keep)
    for file in corpus.files():
        assert len(list(corpus.read(file))) == 50
        corpus.release(file)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == (2 if keep else 0)


def test_a_local_copy_stays_when_nothing_more_is_read_of_it(tmp_path: Path) -> None:
    corpus = _local("mc4", _write(tmp_path, "mc4"), "iw")
    for file in corpus.files():
        corpus.release(file)
        assert len(list(corpus.read(file))) == 50


def test_a_local_copy_that_is_not_there_is_said_to_be_and_no_language_is_blamed(tmp_path: Path) -> None:
    settings = CorpusSettings(source="mc4", path=str(tmp_path / "no-such"), languages=("de",))
    with pytest.raises(CorpusError, match=r"no-such' is no folder of this machine"):
        HubCorpus(settings).files()
