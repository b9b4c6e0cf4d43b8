from __future__ import annotations

import errno
import mmap
from pathlib import Path

import numpy as np
import pytest

from app.artifacts.store import Folder
from app.core.errors import CorruptArtifact, StorageError
from app.tokens import source
from app.tokens.source import FolderParts
from tests.support.token_store import numbered, write_corpus


def test_parts_of_a_remote_store_are_fetched_one_at_a_time(tmp_path: Path) -> None:
    remote = Folder(f"memory://{tmp_path}", str(tmp_path / "cache"))
    corpus = write_corpus(remote, numbered({"de": [[3], [4], [5]]}))
    part = corpus.counts.parts("de", "train")[1]
    assert corpus.ids("de", "train", part).tolist() == [4, 5, 6, 7]
    assert corpus.index("de", "train", part)["length"].tolist() == [4]
    assert sorted(path.name for path in (tmp_path / "cache").rglob("part-*")) == [
        "part-00001-000.bin",
        "part-00001-000.npy",
    ]


def test_no_more_files_are_open_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_OPEN_FILES", 2)
    corpus = write_corpus(tmp_path, numbered({"de": [[3], [4], [5], [6]]}))
    parts = FolderParts(Folder(str(tmp_path)), np.dtype("<u2"))
    for part in corpus.counts.parts("de", "train"):
        parts.ids("de", "train", part)
    assert len(parts._mapped) == 2


def test_an_empty_part_holds_nothing(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, {"de": [[]]})
    (part,) = corpus.counts.parts("de", "train")
    assert len(corpus.ids("de", "train", part)) == len(corpus.index("de", "train", part)) == 0


@pytest.mark.parametrize("torn", [b"", b"not an array"])
def test_a_torn_index_is_refused_with_the_cure(tmp_path: Path, torn: bytes) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[20]]}))
    (tmp_path / "de/train/part-00000-000.npy").write_bytes(torn)
    with pytest.raises(CorruptArtifact, match=r"000\.npy cannot be read .*jobs\.tokenize again"):
        corpus.index("de", "train", corpus.counts.parts("de", "train")[0])


def test_a_fault_of_the_disk_is_not_taken_for_a_torn_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[20]]}))

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    part = corpus.counts.parts("de", "train")[0]
    for module, name, read in ((np, "load", corpus.index), (mmap, "mmap", corpus.ids)):
        with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"at the moment .*run the same command"):
            patch.setattr(module, name, failing)
            read("de", "train", part)


def test_an_index_of_other_documents_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[20], [7, 13]]}))
    (tmp_path / "de/train/part-00001-000.npy").replace(tmp_path / "de/train/part-00000-000.npy")
    with pytest.raises(CorruptArtifact, match="does not list 1 documents with 20 tokens"):
        corpus.index("de", "train", corpus.counts.parts("de", "train")[0])
