from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from app.core.errors import ConfigError
from app.corpora.base import CorpusSettings
from app.corpora.sources import CORPORA, open_corpus


@pytest.mark.parametrize("source", CORPORA)
def test_every_source_has_a_module_and_a_test_of_its_name(source: str) -> None:
    module = import_module(f"app.corpora.{source}")
    assert CORPORA[source].__module__ == module.__name__
    assert Path(__file__).with_name(f"test_{source}.py").exists()


def test_a_corpus_is_opened_by_its_source() -> None:
    corpus = open_corpus(CorpusSettings(source="almanac", languages=("de",)))
    assert {file.lang for file in corpus.files()} == {"de"}


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown corpus source 'almanach'; did you mean 'almanac'"):
        open_corpus(CorpusSettings(source="almanach"))
