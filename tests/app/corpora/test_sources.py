from __future__ import annotations

import typing

import pytest

from app.config.corpus import CorpusConfig
from app.core.errors import ConfigError
from app.corpora.base import CorpusSettings
from app.corpora.sources import CORPORA, open_corpus


def test_the_configuration_names_every_source_and_no_other() -> None:
    assert set(typing.get_args(CorpusConfig.model_fields["source"].annotation)) == set(CORPORA)


def test_a_corpus_is_opened_by_its_source() -> None:
    corpus = open_corpus(CorpusSettings(source="almanac", languages=("de",)))
    assert {file.lang for file in corpus.files()} == {"de"}


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown corpus source 'almanach'; did you mean 'almanac'"):
        open_corpus(CorpusSettings(source="almanach"))
