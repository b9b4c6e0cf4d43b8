from __future__ import annotations

import io
import json

import numpy as np
import pytest

from app.allocation.base import Allocator
from app.allocation.by_language import LanguageAllocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import ARRAYS, DESCRIPTION, load_allocator, save_allocator
from app.allocation.tfidf import TfidfAllocator
from app.core.errors import CorruptArtifact, StaleArtifact
from app.core.records import DocumentBatch

BATCH = DocumentBatch(
    ("1", "2"), ("en", "ru"), ("the river was cold", "река была холодной"), (np.array([3, 4, 5]), np.array([31, 32]))
)
LANGUAGE = LanguageAllocator(("expert-00", "expert-01"), (("ru",), ("en", "de")), "family")


def saved(allocator: Allocator) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    save_allocator(allocator, files.__setitem__)
    return files


@pytest.fixture(params=["language", "random", "tokens", "char", "paper", "extended"])
def allocator(
    request: pytest.FixtureRequest,
    token_allocator: TfidfAllocator,
    char_allocator: TfidfAllocator,
    paper_allocator: TfidfAllocator,
) -> Allocator:
    return {
        "language": LANGUAGE,
        "random": RandomAllocator(("a", "b", "c"), 5),
        "tokens": token_allocator,
        "char": char_allocator,
        "paper": paper_allocator,
        "extended": char_allocator.with_expert("new", ["az"], "expert-00").with_expert("newer", ["he"], "new"),
    }[str(request.param)]


def test_what_is_loaded_decides_as_what_was_saved(allocator: Allocator) -> None:
    loaded = load_allocator(saved(allocator).__getitem__)
    assert loaded.experts == allocator.experts and loaded.unit == allocator.unit
    assert np.array_equal(loaded.assign(BATCH), allocator.assign(BATCH))
    states = [each.context("en") for each in (allocator, loaded)]
    for state in states:
        state.extend("the river", [3, 4])
    assert np.array_equal(states[0].distances(), states[1].distances())


def test_saving_again_gives_the_same_bytes(allocator: Allocator) -> None:
    assert saved(load_allocator(saved(allocator).__getitem__)) == saved(allocator)


def test_nothing_is_pickled(allocator: Allocator) -> None:
    with np.load(io.BytesIO(saved(allocator)[ARRAYS]), allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_a_language_allocator_comes_back_whole() -> None:
    assert load_allocator(saved(LANGUAGE).__getitem__) == LANGUAGE


def test_another_format_is_stale() -> None:
    files = saved(LANGUAGE)
    files[DESCRIPTION] = json.dumps({**json.loads(files[DESCRIPTION]), "format": 99}).encode()
    with pytest.raises(StaleArtifact, match="format 99"):
        load_allocator(files.__getitem__)


@pytest.mark.parametrize(
    ("name", "content"),
    [(DESCRIPTION, b"{"), (DESCRIPTION, b"[]"), (DESCRIPTION, b'{"format": 2}'), (ARRAYS, b"PK"), (ARRAYS, b"")],
)
def test_a_torn_file_is_corrupt(name: str, content: bytes) -> None:
    files = {**saved(LANGUAGE), name: content}
    with pytest.raises(CorruptArtifact, match=r"run jobs\.allocate again"):
        load_allocator(files.__getitem__)


def test_arrays_of_objects_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, expert_of_language=np.array([0, None], dtype=object))
    files = {**saved(LANGUAGE), ARRAYS: buffer.getvalue()}
    with pytest.raises(CorruptArtifact):
        load_allocator(files.__getitem__)
