from __future__ import annotations

import numpy as np
import pytest

from app.artifacts.store import Store
from app.config.schema import Config
from app.evaluation.scores import scored_documents
from tune.kept import Kept, joined, read_kept


def test_halves_are_disjoint_even_and_keep_each_documents_tokens_together() -> None:
    length = [2, 3, 1, 2, 4, 1]
    tokens = np.arange(13.0)
    documents = scored_documents([f"d{n}" for n in range(6)], ["de", "de", "de", "de", "fr", "fr"], length, [9] * 6)
    kept = Kept(documents, np.stack([tokens, -tokens], axis=1), np.ones((13, 2)), tokens, "document", {}, 6)
    halves = [kept.half(half) for half in (0, 1)]
    assert [list(half.documents.langs) for half in halves] == [["de", "de", "fr"]] * 2
    assert not set(halves[0].documents.doc_ids) & set(halves[1].documents.doc_ids)
    for half in halves:
        for place, name in enumerate(half.documents.doc_ids):
            number = int(name[1:])
            assert half.dense[half.documents.tokens(place)].tolist() == tokens[documents.tokens(number)].tolist()


def test_of_more_than_fits_in_memory_whole_documents_are_drawn_of_every_language(
    tiny_run: tuple[Config, Store],
) -> None:
    _, whole, _ = read_kept(*tiny_run)
    size = whole.scores.nbytes + whole.distances.nbytes + whole.dense.nbytes
    assert len(whole.documents) == whole.of
    _, some, _ = read_kept(*tiny_run, most_bytes=size // 2)
    assert 0.3 * whole.of < len(some.documents) < 0.7 * whole.of and some.of == whole.of
    assert set(some.documents.langs) == set(whole.documents.langs)
    places = {name: place for place, name in enumerate(whole.documents.doc_ids)}
    for place, name in enumerate(some.documents.doc_ids):
        mine, theirs = some.documents.tokens(place), whole.documents.tokens(places[name])
        for found, expected in ((some.scores, whole.scores), (some.distances, whole.distances)):
            assert found[mine].tolist() == expected[theirs].tolist()
        assert some.dense[mine].tolist() == whole.dense[theirs].tolist()


def test_a_language_of_which_nothing_is_drawn_is_named(
    tiny_run: tuple[Config, Store], caplog: pytest.LogCaptureFixture
) -> None:
    _, whole, _ = read_kept(*tiny_run)
    size = whole.scores.nbytes + whole.distances.nbytes + whole.dense.nbytes
    assert not caplog.records
    _, some, _ = read_kept(*tiny_run, most_bytes=size // 8)
    missing = sorted(set(whole.documents.langs) - set(some.documents.langs))
    assert missing and f"no document of {', '.join(missing)} was drawn" in caplog.text


def test_what_blocks_keep_is_one_text_when_joined(tiny_run: tuple[Config, Store]) -> None:
    _, whole, _ = read_kept(*tiny_run)
    cut = len(whole.documents) // 3
    found = joined([whole.only(range(cut)), whole.only(range(cut, whole.of))], whole.of)
    for name in ("doc_ids", "langs"):
        assert getattr(found.documents, name) == getattr(whole.documents, name)
    for name in ("offset", "length", "bytes"):
        assert getattr(found.documents, name).tolist() == getattr(whole.documents, name).tolist()
    for name in ("scores", "distances", "dense"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))
