"""This machine's copies of a stage of a remote store: of which making of it they are."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

_MADE = ".made"
"""Beside the copies: the digest of the stage's manifest."""


def drop_stale(copies: Path, manifest: bytes) -> None:
    """Remove the copies unless they are of the stage with this manifest, and note that further ones will be."""
    made, mark = hashlib.sha256(manifest).hexdigest(), copies / _MADE
    is_marked = mark.exists()
    if is_marked and mark.read_text() == made:
        return
    if is_marked:
        # Moved first: what another process begins to copy meanwhile is not removed.
        old = copies.with_name(f"{copies.name}.{uuid.uuid4().hex}.tmp")
        with suppress(FileNotFoundError):  # another process has done it
            copies.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    copies.mkdir(parents=True, exist_ok=True)
    new = mark.with_name(f"{_MADE}.{uuid.uuid4().hex}")
    new.write_text(made)
    new.replace(mark)


def name_of_root(root: str) -> str:
    """The folder of a store's copies: stores have stages of the same keys, and may share a machine."""
    return hashlib.sha256(root.encode()).hexdigest()[:12]
