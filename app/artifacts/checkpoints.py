"""Checkpoints of one model: the only authority over what training resumes from.

A checkpoint is a folder ``step-N`` with a manifest of sizes and digests, which is put there last: a folder without one
was never committed, whatever the storage has of it. Every writer holds the
model's lease under its own attempt id; a commit is refused to a writer that no longer holds it, so an orphan
that survived its driver cannot spoil its successor's work. What is torn is skipped with a warning that names it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.artifacts.digests import file_digest
from app.artifacts.layout import LEASE, MANIFEST, step_folder
from app.artifacts.store import StageFolder
from app.core.errors import CorruptArtifact, LeaseLost
from app.core.records import JsonObject

log = logging.getLogger(__name__)


@dataclass
class ModelCheckpoints:
    """Saves and finds checkpoints in a ``model`` stage; the one saved last and the ``keep - 1`` before it stay.

    run: name of the run whose job has it trained, for other runs that share the model.
    """

    stage: StageFolder
    keep: int
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    run: str = ""

    def claim(self) -> None:
        """Take the lease: from now on only this attempt can commit."""
        holder: JsonObject = {"attempt": self.attempt, "host": socket.gethostname(), "pid": os.getpid()}
        self.stage.write_json(LEASE, {**holder, "run": self.run, "time": time.time()})
        # Of an attempt that was killed while it wrote; they may be gigabytes, and nobody else removes them.
        for leftover in Path(tempfile.gettempdir()).glob(f"{self._temporary}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps that were committed, ascending; not yet verified."""
        return [step for step in self._begun() if self.stage.exists(f"{step_folder(step)}/{MANIFEST}")]

    def _begun(self) -> list[int]:
        """Steps of which a folder exists, ascending: committed, or cut short by a kill before that."""
        names = self.stage.names()
        return sorted(int(name[5:]) for name in names if name.startswith("step-") and name[5:].isdigit())

    def latest(self) -> Path | None:
        """Local folder of the newest checkpoint whose files match their digests; None if there is none.

        Raises CorruptArtifact when checkpoints exist but none is whole: starting over silently would lose work.
        """
        steps = self.steps()
        if cut_short := sorted(set(self._begun()) - set(steps)):
            named = ", ".join(map(step_folder, cut_short))
            log.warning("%s of %s were not committed: a kill cut them short", named, self.stage.uri)
        for step in reversed(steps):
            self.stage.forget(step_folder(step))  # a copy may be of a half-uploaded one that has been saved again since
            folder = self.stage.local(step_folder(step))
            problem = _problem(folder)
            if problem is None:
                return folder
            log.warning("skipping checkpoint %s/%s: %s", self.stage.uri, step_folder(step), problem)
        if steps:
            raise CorruptArtifact(
                f"none of the checkpoints of {self.stage.uri} is whole (steps {', '.join(map(str, steps))});"
                " restore one, or delete the step-* folders to train this model from its start"
            )
        return None

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Let ``write`` fill a folder, seal it with its digests and commit it as ``step``.

        This machine's copy of the one that training went on from is removed, it may take gigabytes.
        Raises LeaseLost if another attempt has taken over this model.
        """
        with tempfile.TemporaryDirectory(prefix=self._temporary) as temporary:
            folder = Path(temporary) / step_folder(step)
            folder.mkdir()
            write(folder)
            manifest = _sealed(folder)
            # As late as can be: writing may have taken minutes, in which another attempt has begun.
            self.check_lease(f"step {step}")
            self.stage.upload(folder, step_folder(step))
        # So may the upload. Last: a remote storage takes files in any order, and a kill may cut it off anywhere.
        self.check_lease(f"step {step}")
        self.stage.write_json(f"{step_folder(step)}/{MANIFEST}", manifest)
        steps = self._begun()
        for copied in steps:
            self.stage.forget(step_folder(copied))
        # Only once the new one is committed: a kill at any moment leaves one to go on from. What is newer was torn when
        # this attempt resumed, or is an orphan's: were it counted, the one just committed could be pruned for it.
        kept = [older for older in self.steps() if older <= step][-self.keep :]
        for other in steps:
            if other not in kept:
                self.stage.remove(step_folder(other))

    def clear(self) -> None:
        """Remove all checkpoints, once the final model is published."""
        for step in self._begun():
            self.stage.remove(step_folder(step))

    @property
    def _temporary(self) -> str:
        """How the names of this model's checkpoints begin while they are written on this machine."""
        return f"xelm-checkpoint-{self.stage.key}-"

    def check_lease(self, what: str) -> None:
        """Raise LeaseLost if another attempt has taken over this model; ``what`` is then not to be written."""
        holder = self.stage.read_json(LEASE)["attempt"] if self.stage.exists(LEASE) else self.attempt
        if holder != self.attempt:
            raise LeaseLost(f"another attempt trains {self.stage.uri}; {what} of this one is not committed")


def _sealed(folder: Path) -> JsonObject:
    """The manifest of its files."""
    files: JsonObject = {
        file.name: {"bytes": file.stat().st_size, "sha256": file_digest(file)} for file in sorted(folder.iterdir())
    }
    return {"files": files}


def _problem(folder: Path) -> str | None:
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"no readable manifest ({error})"
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        # The size first: most torn files are short, and to read gigabytes takes a while.
        if file.stat().st_size != expected["bytes"] or file_digest(file) != expected["sha256"]:
            return f"{name} does not match its digest"
    return None
