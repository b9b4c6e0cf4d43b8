"""An allocator as two files, ``allocator.json`` and ``allocator.npz``; nothing is pickled."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping

import numpy as np

from app.allocation.base import Allocator
from app.allocation.by_language import LanguageAllocator, restore_language_allocator
from app.allocation.extended import ExtendedAllocator
from app.allocation.random_split import RandomAllocator, restore_random_allocator
from app.core.errors import CorruptArtifact, StaleArtifact
from app.core.records import Array, JsonObject

FORMAT = 2
DESCRIPTION = "allocator.json"
ARRAYS = "allocator.npz"
# Whatever json, numpy and the checks below raise for a file that is torn or is something else.
_BROKEN = (ValueError, KeyError, TypeError, IndexError, AssertionError, EOFError, zipfile.BadZipFile)


def save_allocator(allocator: Allocator, write: Callable[[str, bytes], object]) -> None:
    """Write both files, the description last; equal allocators give equal bytes."""
    buffer = io.BytesIO()
    # numpy gives the entries of the archive a fixed date, so equal arrays are equal bytes.
    np.savez(buffer, allow_pickle=False, **allocator.to_arrays())
    write(ARRAYS, buffer.getvalue())
    # Who finds a description finds its arrays too, also after a kill between the two writes.
    text = json.dumps({"format": FORMAT, **allocator.describe()}, ensure_ascii=False, indent=1)
    write(DESCRIPTION, text.encode())


def load_allocator(read: Callable[[str], bytes]) -> Allocator:
    """Read what ``save_allocator`` wrote.

    Raises StaleArtifact for another format version and CorruptArtifact for anything that is not an allocator.
    """
    try:
        described = json.loads(read(DESCRIPTION))
        if described["format"] != FORMAT:
            raise StaleArtifact(
                f"{DESCRIPTION} has format {described['format']}, this version reads {FORMAT}; run jobs.allocate again"
            )
        with np.load(io.BytesIO(read(ARRAYS)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _restore(described, arrays)
    except _BROKEN as error:
        raise CorruptArtifact(
            f"{DESCRIPTION} and {ARRAYS} hold no allocator ({error!r}); run jobs.allocate again"
        ) from error


def _restore(described: JsonObject, arrays: Mapping[str, Array]) -> Allocator:
    kind = described["kind"]
    if kind == ExtendedAllocator.kind:
        base, name, languages, parent = (described[field] for field in ("base", "name", "languages", "parent"))
        assert isinstance(base, dict) and isinstance(name, str) and isinstance(languages, list)
        assert isinstance(parent, str)
        return ExtendedAllocator(_restore(base, arrays), name, tuple(str(lang) for lang in languages), parent)
    return _RESTORERS[str(kind)](described, arrays)


def _restore_tfidf(described: JsonObject, arrays: Mapping[str, Array]) -> Allocator:
    # Brings torch and scikit-learn, which allocators of languages do without.
    from app.allocation.tfidf import restore_tfidf_allocator

    return restore_tfidf_allocator(described, arrays)


_RESTORERS: Mapping[str, Callable[[JsonObject, Mapping[str, Array]], Allocator]] = {
    LanguageAllocator.kind: restore_language_allocator,
    RandomAllocator.kind: restore_random_allocator,
    "tfidf": _restore_tfidf,
}
