"""The store: content-addressed stage folders and readable run folders on any fsspec filesystem.

A stage is complete only with its done marker. Files are written to a temporary name, flushed to disk and
renamed, then the manifest, then the marker; so a reader never sees half a file and a killed job can simply
be run again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import fsspec

from app.artifacts.copies import drop_stale, name_of_root
from app.artifacts.layout import DONE, MANIFEST, Stage, run_folder, stage_folder
from app.artifacts.manifest import Manifest, read_manifest
from app.core.errors import CorruptArtifact, MissingArtifact, StaleArtifact, StorageError
from app.core.records import JsonObject, JsonValue
from app.core.typed import from_json

_TEMPORARY = ".tmp"
CACHE_BYTES = 16 << 30
"""Of token parts on one machine, where nothing else is said."""
Counts = TypeVar("Counts")


@dataclass(frozen=True)
class Folder:
    """A folder in the store; ``uri`` is absolute, names inside it are relative. ``cache_bytes``: see Store."""

    uri: str
    cache: str = ""
    cache_bytes: int = field(default=CACHE_BYTES, kw_only=True)

    def _fs(self) -> tuple[fsspec.AbstractFileSystem, str]:
        # At each call: folders are small records that travel to workers, and fsspec keeps the filesystem itself.
        fs, path = fsspec.core.url_to_fs(self.uri)
        return fs, path

    def _anew(self, name: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """The filesystem and the whole path of ``name``, to be looked at as it is now.

        Clients of object stores answer from listings that they remember: what other machines have written since would
        be missed, and a file that has grown be read up to the size that it had.
        """
        fs, path = self._fs()
        fs.invalidate_cache()
        return fs, f"{path}/{name}" if name else path

    @property
    def is_local(self) -> bool:
        """True where files can be opened by path."""
        fs, _ = self._fs()
        return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol))

    def child(self, name: str) -> Folder:
        """A folder below this one."""
        cache = self.cache and str(PurePosixPath(self.cache) / name)
        return Folder(f"{self.uri.rstrip('/')}/{name}", cache, cache_bytes=self.cache_bytes)

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder is there."""
        fs, where = self._anew(name)
        with self._using("look for", name):
            return bool(fs.exists(where))

    def names(self, name: str = "") -> list[str]:
        """Names directly below a folder, sorted; empty if there is no such folder.

        What a killed writer left is not among them.
        """
        fs, where = self._anew(name)
        with self._using("list", name), suppress(FileNotFoundError):
            names = (PurePosixPath(str(entry)).name for entry in fs.ls(where, detail=False))
            return sorted(name for name in names if not name.endswith(_TEMPORARY))
        return []

    def modified(self, name: str) -> float | None:
        """When a file was written by the storage's clock, Unix time; None where the storage does not tell."""
        fs, where = self._anew(name)
        try:
            return float(fs.modified(where).timestamp())
        except NotImplementedError:
            return None

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises MissingArtifact if it is not there."""
        fs, where = self._anew(name)
        try:
            with self._using("read", name), fs.open(where, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            raise MissingArtifact(f"{self.uri}/{name} is missing") from None

    def read_blocks(self, name: str, size: int) -> Iterator[bytes]:
        """A file's bytes, ``size`` at a time, as the storage holds them now. Raises MissingArtifact."""
        fs, where = self._anew(name)
        try:
            with self._using("read", name), fs.open(where, "rb") as file:
                while block := file.read(size):
                    yield bytes(block)
        except FileNotFoundError:
            raise MissingArtifact(f"{self.uri}/{name} is missing") from None

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes of a file from ``start`` up to ``end`` or to where it ends. Raises MissingArtifact."""
        # HTTP has no range of no bytes; a storage may answer with the whole file.
        if start >= end:
            return b""
        fs, path = self._fs()
        try:
            with self._using("read", name):
                return bytes(fs.cat_file(f"{path}/{name}", start, end))
        except FileNotFoundError:
            raise MissingArtifact(f"{self.uri}/{name} is missing") from None

    def read_json(self, name: str) -> JsonObject:
        """A JSON file. Raises MissingArtifact or CorruptArtifact."""
        try:
            value: JsonObject = json.loads(self.read(name))
        except ValueError as error:
            raise CorruptArtifact(f"{self.uri}/{name} is torn: {error}") from None
        return value

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically: temporary name, flush to disk, rename."""
        fs, path = self._fs()
        target = f"{path}/{name}"
        # A name of its own: two may write the same file at once, such as an orphan and its successor.
        temporary = f"{target}.{uuid.uuid4().hex}{_TEMPORARY}"
        with self._using("write", name, temporary):
            fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            with fs.open(temporary, "wb") as file:
                file.write(data)
                if self.is_local:
                    # Otherwise a power failure may keep the rename and lose the bytes.
                    file.flush()
                    os.fsync(file.fileno())
            try:
                fs.mv(temporary, target)
            except FileNotFoundError as error:
                # As if the storage were away: the next attempt will do.
                raise StorageError(f"{target}: another run has cleaned up under its writer; run it again") from error

    def write_json(self, name: str, value: Mapping[str, JsonValue]) -> None:
        """Write readable JSON atomically."""
        self.write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def local(self, name: str = "") -> Path:
        """A local path with this content: the place itself, or a copy in the cache for remote stores."""
        fs, where = self._anew(name)
        if self.is_local:
            return Path(where)
        cache = Path(self.cache or Path(tempfile.gettempdir()) / "xelm-cache" / uuid.uuid4().hex)
        copy = cache / name if name else cache
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            # Renamed when it is whole: a copy that a kill cut short would be taken for the file for ever.
            partial = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}.tmp")
            try:
                with self._using("fetch", name):
                    fs.get(where, str(partial), recursive=True)
            except BaseException as error:
                # Each try would leave its part, and a disk that is full would stay so.
                shutil.rmtree(partial, ignore_errors=True)
                partial.unlink(missing_ok=True)
                if isinstance(error, FileNotFoundError):
                    raise MissingArtifact(f"{self.uri}/{name} is missing") from None
                raise
            # Otherwise a power failure may keep the rename and lose the bytes.
            _flush(partial)
            try:
                partial.replace(copy)
            except OSError:
                # Another process of this machine has fetched the same folder meanwhile; a file is replaced.
                if not copy.is_dir():
                    raise
                shutil.rmtree(partial, ignore_errors=True)
        return copy

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """A local path with this content while it is open: the place itself, or a copy of a remote folder that goes
        then. For what is read once: a machine that reads one model after another would be full of them.

        Raises MissingArtifact if it is not there.
        """
        if self.is_local:
            yield self.local(name)
            return
        with tempfile.TemporaryDirectory(prefix="xelm-copy-") as folder:
            fs, where = self._anew(name)
            copy = Path(folder) / PurePosixPath(name).name
            try:
                with self._using("fetch", name):
                    fs.get(where, str(copy), recursive=True)
            except FileNotFoundError:
                raise MissingArtifact(f"{self.uri}/{name} is missing") from None
            yield copy

    def fetch(self, name: str, target: Path) -> None:
        """Copy one file to a local path. Raises MissingArtifact if it is not there."""
        fs, where = self._anew(name)
        try:
            with self._using("fetch", name):
                fs.get_file(where, str(target))
        except FileNotFoundError:
            raise MissingArtifact(f"{self.uri}/{name} is missing") from None

    def forget(self, name: str) -> None:
        """Remove this machine's copy of a remote folder, if ``local`` has made one."""
        if self.cache and not self.is_local:
            shutil.rmtree(Path(self.cache) / name, ignore_errors=True)

    def upload(self, folder: Path, name: str) -> None:
        """Put a local folder or file here, in the place of what has this name, by one rename where that is possible.

        Raises StorageError, leaving nothing behind.
        """
        fs, path = self._fs()
        target = f"{path}/{name}"
        # Object storages rename no folders: there it is put in place, and digests or a marker tell when it is whole.
        staged = f"{target}.{uuid.uuid4().hex}{_TEMPORARY}" if self.is_local else target
        with self._using("write", name, staged):
            if self.is_local:
                fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                fs.put(str(folder), staged, recursive=True)
                _flush(Path(staged))
            # A rename does not replace a folder that has something in it, and a put would merge the two.
            if fs.exists(target):
                fs.rm(target, recursive=True)
            if self.is_local:
                Path(staged).replace(target)
            else:
                fs.put(str(folder), target, recursive=True)

    def size_bytes(self) -> int:
        """Bytes of all files in here."""
        fs, where = self._anew("")
        return int(fs.du(where)) if fs.exists(where) else 0

    def remove(self, name: str) -> None:
        """Remove a file or folder if it is there."""
        fs, where = self._anew(name)
        with self._using("remove", name):
            if fs.exists(where):
                fs.rm(where, recursive=True)

    @contextmanager
    def _using(self, verb: str, name: str, leftover: str = "") -> Iterator[None]:
        """Raise what the filesystem raises as StorageError, without the leftover; a missing file stays what it is.

        Clients of remote storages raise classes of their own: any is taken for the storage's.
        """
        # Locally any other class would be an error of ours, not to be tried again.
        failures: type[Exception] = OSError if self.is_local else Exception
        try:
            yield
        except FileNotFoundError:
            raise
        except failures as error:
            if leftover:
                with suppress(Exception):
                    self._fs()[0].rm(leftover, recursive=True)
            why = str(error) or type(error).__name__
            raise StorageError(f"cannot {verb} {self.uri}/{name}: {why}; check space, rights and network") from error


@dataclass(frozen=True)
class StageFolder(Folder):
    """One stage's folder, complete or not. ``made_by``: the command that makes it, for messages."""

    stage: Stage = "shards"
    key: str = ""
    made_by: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the done marker is there."""
        return self.exists(DONE)

    def manifest(self) -> Manifest:
        """The manifest of a complete stage.

        Raises MissingArtifact if it is not complete, StaleArtifact or CorruptArtifact if it is not ours; each names
        what to run.
        """
        cure = f"run {self.made_by} with this config" if self.made_by else "run the command that made its run again"
        if not self.is_complete:
            raise MissingArtifact(f"{self.stage} {self.key} has not been made; {cure}")
        where = f"{self.uri}/{MANIFEST}"
        manifest = read_manifest(self.read(MANIFEST).decode("utf-8", "replace"), where, cure)
        if (manifest.stage, manifest.key) != (self.stage, self.key):
            raise StaleArtifact(f"{where} belongs to {manifest.stage} {manifest.key}; delete its folder and {cure}")
        return manifest

    def local(self, name: str = "") -> Path:
        """See Folder."""
        self.drop_stale_copies()
        return super().local(name)

    def drop_stale_copies(self) -> None:
        """Remove this machine's copies of a remote stage if it has been made anew since: its key says what it is made
        of, and other code or hardware may make something else of that.
        """
        if self.cache and not self.is_local and self.exists(MANIFEST):
            drop_stale(Path(self.cache), self.read(MANIFEST))

    def counts(self, kind: type[Counts]) -> Counts:
        """What the complete stage holds, as one of the records of ``counts``; raises what ``manifest`` raises."""
        return from_json(kind, self.manifest().counts, f"{self.uri}/{MANIFEST}: counts")

    def publish(self, manifest: Manifest) -> None:
        """Declare the stage complete: manifest first, then the done marker; what killed writers left is removed."""
        self._remove_leftovers()
        self.write(MANIFEST, manifest.to_json().encode())
        # Last: whoever sees it sees all the rest.
        self.write(DONE, b"")

    def _remove_leftovers(self) -> None:
        fs, path = self._anew("")
        with self._using("remove what killed writers left in", ""):
            # Folder by folder: a stage may have a million files, and a glob holds what is known of each.
            for place, folders, files in fs.walk(path, detail=False):
                left = [name for name in (*folders, *files) if name.endswith(_TEMPORARY)]
                # What is in one goes with it, and is not walked into.
                folders[:] = [name for name in folders if not name.endswith(_TEMPORARY)]
                for name in left:
                    with suppress(FileNotFoundError):  # its writer may live, and have renamed it just now
                        fs.rm(f"{place}/{name}", recursive=True)
                # Clients of object stores remember each listing.
                fs.invalidate_cache()


@dataclass(frozen=True)
class Store:
    """Everything below ``artifacts.root``. ``cache_bytes``: of token parts that a machine keeps of a remote store."""

    root: str
    cache: str = ""
    cache_bytes: int = CACHE_BYTES

    def __post_init__(self) -> None:
        """Make a local root absolute: stores travel to workers that run in other folders."""
        if "://" not in self.root:
            object.__setattr__(self, "root", str(Path(self.root).absolute()))

    def stage(self, stage: Stage, key: str, made_by: str = "") -> StageFolder:
        """The folder of one stage. made_by: the command that makes it, for messages."""
        name = stage_folder(stage, key)
        return StageFolder(self._uri(name), self._cached(name), stage, key, made_by, cache_bytes=self.cache_bytes)

    def run(self, name: str) -> Folder:
        """The folder of one run."""
        return self.folder(run_folder(name))

    def folder(self, name: str) -> Folder:
        """Any other folder below the root."""
        return Folder(self._uri(name), self._cached(name), cache_bytes=self.cache_bytes)

    def _uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    @property
    def cache_folder(self) -> Path:
        """Where this machine keeps copies."""
        return Path(self.cache) if self.cache else Path(tempfile.gettempdir()) / "xelm-cache"

    def _cached(self, name: str) -> str:
        return str(self.cache_folder / name_of_root(self.root) / name)


def _flush(place: Path) -> None:
    for file in (place, *place.rglob("*")):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
