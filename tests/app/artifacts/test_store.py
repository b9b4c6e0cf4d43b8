from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from app.artifacts.manifest import Manifest
from app.artifacts.store import Folder, StageFolder, Store
from app.core.errors import ArtifactError, CorruptArtifact, MissingArtifact, StaleArtifact, StorageError


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "root"))
    return Store(f"memory://{tmp_path.name}", str(tmp_path / "cache"))


def test_a_stage_is_complete_only_after_publish(store: Store) -> None:
    stage = store.stage("tokens", "k1", "python -m jobs.tokenize")
    stage.write("de/train/a.bin", b"123")
    assert not stage.is_complete
    with pytest.raises(MissingArtifact, match=r"run python -m jobs\.tokenize"):
        stage.manifest()
    stage.publish(Manifest("tokens", "k1", {}, {}))
    assert stage.is_complete and stage.manifest().key == "k1"
    assert stage.read("de/train/a.bin") == b"123"
    assert stage.names("de/train") == ["a.bin"] and stage.names("nowhere") == []


def test_the_size_of_a_folder_is_that_of_its_files(store: Store) -> None:
    stage = store.stage("model", "k")
    assert stage.size_bytes() == 0
    stage.write("a", b"123")
    stage.write("b/c", b"45")
    assert stage.size_bytes() == 5


def test_publishing_removes_what_killed_writers_left(store: Store) -> None:
    stage = store.stage("tokens", "k1", "python -m jobs.tokenize")
    stage.write("de/train/a.bin", b"123")
    stage.write("de/train/a.bin.0123.tmp", b"1")
    stage.write("b.json.4567.tmp", b"1")
    stage.write("final.89.tmp/config.json", b"{}")
    stage.publish(Manifest("tokens", "k1", {}, {}))
    fs, path = fsspec.core.url_to_fs(stage.uri)
    assert sorted(str(file).rpartition("/")[2] for file in fs.find(path)) == ["DONE", "a.bin", "manifest.json"]


def test_what_a_killed_writer_left_is_in_no_listing(store: Store) -> None:
    stage = store.stage("tokens", "k1")
    stage.write("sizes/a.json", b"{}")
    stage.write("sizes/a.json.0123.tmp", b"{}")
    assert stage.names("sizes") == ["a.json"]


def test_a_file_is_read_block_by_block_as_it_is_stored_now(store: Store) -> None:
    stage = store.stage("model", "k1")
    stage.write("final/w", b"12345")
    assert stage.local("final/w").read_bytes() == b"12345"
    stage.write("final/w", b"678")
    assert list(stage.read_blocks("final/w", 2)) == [b"67", b"8"]
    with pytest.raises(MissingArtifact):
        next(stage.read_blocks("final/x", 2))


def test_publishing_takes_memory_for_one_folder_and_not_for_all_files(tmp_path: Path) -> None:
    stage = Store(str(tmp_path)).stage("tokens", "k1")
    for folder in range(100):
        place = Path(stage.uri, str(folder))
        place.mkdir(parents=True)
        for file in range(100):
            (place / f"{file}.bin").touch()
    tracemalloc.start()
    stage.publish(Manifest("tokens", "k1", {}, {}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_foreign_manifest_is_stale(store: Store) -> None:
    stage = store.stage("tokens", "k1")
    stage.publish(Manifest("tokens", "other", {}, {}))
    with pytest.raises(StaleArtifact, match="belongs to tokens other"):
        stage.manifest()


def test_a_torn_manifest_is_corrupt(store: Store) -> None:
    stage = store.stage("tokens", "k1", "python -m jobs.tokenize")
    stage.publish(Manifest("tokens", "k1", {}, {}))
    stage.write("manifest.json", b'{"stage"')
    with pytest.raises(CorruptArtifact, match=r"jobs\.tokenize"):
        stage.manifest()


def test_local_gives_a_path_with_the_content_on_any_filesystem(store: Store) -> None:
    stage = store.stage("model", "m")
    stage.write("final/config.json", b"{}")
    assert (stage.local("final") / "config.json").read_bytes() == b"{}"


def test_a_folder_that_another_process_fetched_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"memory://{tmp_path.name}", str(tmp_path / "cache"))
    stage = store.stage("model", "m")
    stage.write("final/config.json", b"{}")
    looked = iter([False])
    exists = Path.exists
    first = stage.local("final")
    monkeypatch.setattr(Path, "exists", lambda self: next(looked, True) if self == first else exists(self))
    assert stage.local("final") == first
    assert [path.name for path in first.parent.iterdir()] == ["final"]
    assert (first / "config.json").read_bytes() == b"{}"


def test_a_copy_that_failed_or_is_not_there_leaves_nothing_and_has_our_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Store(f"memory://{tmp_path.name}", str(tmp_path / "cache")).stage("model", "m")
    stage.write("final/config.json", b"{}")
    with pytest.raises(MissingArtifact, match="nothing is missing"):
        stage.local("nothing")

    def full(_fs: object, _where: str, target: str, **_: object) -> None:
        Path(target).mkdir()
        (Path(target) / "config.json").write_bytes(b"{")
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(MemoryFileSystem, "get", full)
    with pytest.raises(StorageError, match="no space left"):
        stage.local("final")
    assert not [path for path in (tmp_path / "cache").rglob("*") if "final" in path.name]


class Remembering(MemoryFileSystem):
    """As clients of object stores are: sizes and names come from listings that they remember."""

    protocol = "remembering"
    cachable = False

    def info(self, path: str, **more: Any) -> Any:
        parent = self._parent(path)
        if parent not in self.dircache:
            self.dircache[parent] = super().ls(parent, detail=True)
        found = [row for row in self.dircache[parent] if row["name"] == self._strip_protocol(path)]
        if not found:
            raise FileNotFoundError(path)
        return found[0]

    def exists(self, path: str, **more: Any) -> bool:
        try:
            return bool(self.info(path))
        except FileNotFoundError:
            return False

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **more)
        return io.BytesIO(super()._open(path, mode).read(self.info(path)["size"]))

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.pop(self._parent(path), None) if path else self.dircache.clear()


def test_what_another_machine_has_written_since_a_listing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Remembering()
    monkeypatch.setattr(Folder, "_fs", lambda self: (mine, self.uri.removeprefix("memory://")))
    folder, others = Folder("memory:///remembered"), fsspec.filesystem("memory")
    others.pipe("/remembered/metrics", b"1")
    assert folder.read("metrics") == b"1" and not folder.exists("later")
    others.pipe("/remembered/metrics", b"1 2 3")
    others.pipe("/remembered/later", b"")
    assert folder.read("metrics") == b"1 2 3" and folder.exists("later")


def test_upload_replaces_a_half_made_folder(store: Store, tmp_path: Path) -> None:
    stage = store.stage("model", "m")
    stage.write("final/stale", b"old")
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "fresh").write_bytes(b"new")
    stage.upload(folder, "final")
    assert stage.names("final") == ["fresh"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Store(str(tmp_path)).run("r")
    folder.write("a.json", b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "mv", fail)
    with pytest.raises(ArtifactError, match="No space left"):
        folder.write("a.json", b"new")
    monkeypatch.undo()
    assert folder.names() == ["a.json"] and folder.read("a.json") == b"old"


def test_torn_json_is_an_error_that_names_the_file(store: Store) -> None:
    run = store.run("r")
    run.write("run.json", b"{")
    with pytest.raises(CorruptArtifact, match=r"run\.json is torn"):
        run.read_json("run.json")


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    folder = Store(str(tmp_path / "file")).stage("model", "m")
    with pytest.raises(StorageError, match=r"cannot write .*m/a\.json.*; check space, rights and network"):
        folder.write("a.json", b"{}")
    with pytest.raises(StorageError, match="cannot list"):
        folder.names()


def test_errors_of_a_remote_client_are_storage_errors_whatever_their_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectionClosedError(Exception):
        """As the clients of object stores raise them: not an OSError."""

    def closed(*_: object, **__: object) -> None:
        raise ConnectionClosedError("connection was closed")

    folder = Store("memory://away", str(tmp_path)).stage("model", "m")
    folder.write("a.json", b"{}")
    for name in ("_open", "ls", "rm", "mv"):
        monkeypatch.setattr(fsspec.filesystem("memory"), name, closed)
    for use in (
        lambda: folder.write("b.json", b"{}"),
        lambda: folder.read("a.json"),
        lambda: folder.names(),
        lambda: folder.remove("a.json"),
        lambda: folder.publish(Manifest("model", "m", {}, {})),
    ):
        with pytest.raises(StorageError, match="connection was closed"):
            use()


def test_copies_are_of_their_own_store_and_go_when_a_stage_is_made_anew(tmp_path: Path) -> None:
    def made(root: str, content: bytes) -> StageFolder:
        stage = Store(f"memory://{tmp_path.name}-{root}", str(tmp_path / "cache")).stage("model", "k")
        stage.write("final/weights", content)
        stage.publish(Manifest("model", "k", {}, {}, {"content": content.decode()}))
        return stage

    first, second = made("a", b"first"), made("b", b"second")
    assert [(stage.local("final") / "weights").read_bytes() for stage in (first, second)] == [b"first", b"second"]
    first.remove("final")
    first = made("a", b"anew")
    assert (first.local("final") / "weights").read_bytes() == b"anew"
    assert (second.local("final") / "weights").read_bytes() == b"second"
    copy = first.local("final") / "weights"
    copy.write_bytes(b"a copy that is kept")
    assert (first.local("final") / "weights").read_bytes() == b"a copy that is kept"


def test_a_writer_under_whom_another_run_has_cleaned_up_may_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: object, source: str, _target: str) -> None:
        raise FileNotFoundError(source)

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.mv", gone)
    with pytest.raises(StorageError, match="run it again"):
        Store(str(tmp_path)).folder("x").write("a.json", b"{}")


def test_what_is_at_hand_of_a_remote_store_leaves_no_copy_and_a_local_one_is_the_place(tmp_path: Path) -> None:
    local, remote = Store(str(tmp_path / "here")), Store(f"memory://{tmp_path.name}-hand", str(tmp_path / "cache"))
    for store in (local, remote):
        store.folder("m").write("final/weights", b"w")
        with store.folder("m").at_hand("final") as folder:
            assert (folder / "weights").read_bytes() == b"w"
        assert folder.exists() == (store is local)
    with pytest.raises(MissingArtifact), remote.folder("m").at_hand("none"):
        pass
    assert not (tmp_path / "cache").exists()
