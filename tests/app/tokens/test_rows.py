from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.artifacts.store import Folder
from app.core.errors import CorpusError
from app.tokens.dataset import TokenCorpus
from app.tokens.rows import BlockDataset
from app.tokens.stream import Chosen, LanguageStream
from tests.support.token_store import numbered, write_corpus


def test_each_languages_rows_are_those_of_its_stream_in_order(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[9, 7], [30]], "sw": [[40]]}))
    blocks = BlockDataset(corpus, {"de": 0.7, "sw": 0.3}, 4, 50, seed=1)
    rows, langs = blocks.rows(0, 50), blocks.languages(0, 50)
    assert rows.shape == (50, 5) and len(blocks) == 50
    for lang, count in (("de", 35), ("sw", 15)):
        expected = np.zeros((count, 5), dtype=np.int64)
        for ordinal in range(count):
            LanguageStream(corpus, lang, 4, 1).read(ordinal, expected[ordinal])
        mine = [row for row, row_lang in zip(rows.tolist(), langs, strict=True) if row_lang == lang]
        assert mine == expected.tolist()


def test_a_row_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[9, 7], [30]], "sw": [[40]]}))
    weights = {"de": 0.5, "sw": 0.5}
    whole = BlockDataset(corpus, weights, 4, 50, seed=1).rows(0, 50)
    again = BlockDataset(TokenCorpus.open(Folder(str(tmp_path))), weights, 4, 50, seed=1)
    for i in (49, 0, 17, 33, 17):
        assert again.rows(i, i + 1).tolist() == whole[i : i + 1].tolist()
    assert again.rows(7, 7).shape == (0, 5)
    assert BlockDataset(corpus, weights, 4, 50, seed=2).rows(0, 50).tolist() != whole.tolist()


def test_exposure_is_exact_for_many_languages(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({f"l{i}": [[20]] for i in range(7)}))
    blocks = BlockDataset(corpus, {f"l{i}": 1 / 7 for i in range(7)}, 4, 100, seed=3)
    exposure = blocks.exposure()
    assert sum(exposure.values()) == 400 and set(exposure.values()) == {56, 60}
    langs = blocks.languages(0, 100)
    assert {lang: 4 * langs.count(lang) for lang in exposure} == exposure
    assert blocks.epochs() == {lang: seen / 20 for lang, seen in exposure.items()}
    assert blocks.tokens() == {f"l{i}": 20 for i in range(7)}


def test_a_language_with_less_than_one_row_is_refused_by_name(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[20]], "sw": [[3]]}))
    with pytest.raises(CorpusError, match="sw has 3 training tokens, less than one row of 4"):
        BlockDataset(corpus, {"de": 0.9, "sw": 0.1}, 4, 10, seed=0)
    assert set(BlockDataset(corpus, {"de": 1.0, "sw": 0.0}, 4, 10, seed=0).languages(0, 10)) == {"de"}


def test_only_the_chosen_documents_count(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[10, 10], [10]]}))
    first = Chosen(lambda *_: np.array([0]), lambda _lang: np.array([10, 10]))
    blocks = BlockDataset(corpus, {"de": 1.0}, 5, 12, seed=0, chosen=first)
    assert blocks.tokens() == {"de": 20} and blocks.epochs() == {"de": 3.0}
    assert set(blocks.rows(0, 12).ravel().tolist()) == {*range(1, 11), *range(21, 31)}
