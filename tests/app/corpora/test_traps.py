from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import CorpusError
from app.corpora.base import CorpusSettings
from app.corpora.files import FilesCorpus
from app.corpora.traps import refuse_converted, refuse_traps

PLAIN = "en/c4-train.00000-of-01024.json.gz"
MC4 = "multilingual/c4-de.tfrecord-00000-of-01024.json.gz"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["hf://datasets/allenai/c4@refs%2Fconvert%2Fparquet/en-multi/partial-train/0000.parquet"], "only a part"),
        (["/data/partial-validation/0000.parquet"], "only a part"),
        (["/data/fineweb-2/dan_Latn_removed/train/000_00000.parquet"], "without _removed"),
        ([f"/data/{MC4}", f"/data/{PLAIN}"], "use en-multi"),
        ([f"hf://datasets/allenai/c4/{PLAIN}"], "use en-multi"),
        ([f"/home/.cache/datasets--allenai--c4/snapshots/15/{PLAIN}"], "use en-multi"),
        ([f"/data/{MC4}", "/data/realnewslike/c4-train.00000-of-00512.json.gz"], "use en-multi"),
        ([f"/data/{MC4}", "/data/en.noblocklist/c4-train.00000-of-01024.json.gz"], "use en-multi"),
    ],
)
def test_files_that_are_not_what_was_meant_are_refused_by_name(paths: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        refuse_traps(paths)
    assert str(caught.value).startswith(paths[-1])


@pytest.mark.parametrize(
    "path",
    [
        f"/data/{PLAIN}",  # C4 alone, chosen by its folder
        f"/data/{MC4}",
        "/data/multilingual/c4-en.tfrecord-00000-of-11264.json.gz",
        "/data/fineweb-2/dan_Latn/train/000_00000.parquet",
        "/data/de/train/0000.parquet",
        "/data/partial-order/de/a.jsonl",
    ],
)
def test_other_files_pass(path: str) -> None:
    refuse_traps([path])


@pytest.mark.parametrize("revision", ["refs/convert/parquet", "refs%2Fconvert%2Fparquet"])
def test_converted_revisions_are_refused(revision: str) -> None:
    with pytest.raises(CorpusError, match="main branch"):
        refuse_converted(revision)


def test_files_refuses_only_what_it_would_read(tmp_path: Path) -> None:
    for name in (MC4, PLAIN):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not empty")
    german = CorpusSettings(source="files", path=str(tmp_path), languages=("de",))
    assert len(FilesCorpus(german).files()) == 1
    with pytest.raises(CorpusError, match=r"en/c4-train.*use en-multi"):
        FilesCorpus(CorpusSettings(source="files", path=str(tmp_path))).files()


def test_a_revision_on_the_main_branch_passes() -> None:
    refuse_converted("1588ec454efa1a09f29cd18ddd04fe05fc8653a2")
