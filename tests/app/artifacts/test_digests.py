from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from app.artifacts import digests
from app.artifacts.digests import DigestMemory, file_digest


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"weights").hexdigest()


def test_a_file_is_read_once_and_again_only_when_its_size_or_time_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = tmp_path / "a", list[Path]()
    monkeypatch.setattr(digests, "file_digest", lambda path: read.append(path) or file_digest(path))  # type: ignore[func-returns-value]
    file.write_bytes(b"one")
    first = DigestMemory(tmp_path / "cache").digest(file)
    assert DigestMemory(tmp_path / "cache").digest(file) == first == hashlib.sha256(b"one").hexdigest()
    assert len(read) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert DigestMemory(tmp_path / "cache").digest(file) == hashlib.sha256(b"two").hexdigest()
    assert len(read) == 2


@pytest.mark.parametrize("torn", ["", "{", "[]"])
def test_a_torn_memory_and_a_folder_that_cannot_be_made_only_cost_time(tmp_path: Path, torn: str) -> None:
    (tmp_path / "digests.json").write_text(torn)
    (tmp_path / "a").write_bytes(b"one")
    assert DigestMemory(tmp_path).digest(tmp_path / "a") == hashlib.sha256(b"one").hexdigest()
    assert DigestMemory(tmp_path / "a" / "no folder").digest(tmp_path / "a") == hashlib.sha256(b"one").hexdigest()
