from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.core.errors import MissingArtifact
from benchmarks import remote_store


def test_what_is_read_is_late_and_counted_and_what_is_written_is_in_the_folder(tmp_path: Path) -> None:
    remote_store.register()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a").write_bytes(b"x" * 1000)
    with remote_store.served(tmp_path / "here", 0.05, 1e6) as (server, uri):
        folder = Folder(uri)
        started = time.monotonic()
        folder.fetch("a", tmp_path / "copy")
        assert time.monotonic() - started > 0.05
        assert folder.read("a") == (tmp_path / "copy").read_bytes() == b"x" * 1000
        folder.write("b/c", b"new")
        assert (tmp_path / "here/b/c").read_bytes() == b"new" and folder.names() == ["a", "b"]
        assert not folder.is_local
        with pytest.raises(MissingArtifact):
            folder.read("d")
        assert remote_store.fetched(server) == {str(tmp_path / "here/a"): 2000}
