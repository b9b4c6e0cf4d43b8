"""Corpora by name. Adding one: a file, a line here, a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.core.errors import ConfigError
from app.core.suggest import unknown_value
from app.corpora.almanac import AlmanacCorpus
from app.corpora.base import Corpus, CorpusSettings
from app.corpora.files import FilesCorpus
from app.corpora.mc4 import Mc4Corpus

CORPORA: Mapping[str, Callable[[CorpusSettings], Corpus]] = {
    "almanac": AlmanacCorpus,
    "files": FilesCorpus,
    "mc4": Mc4Corpus,
}


def open_corpus(settings: CorpusSettings) -> Corpus:
    """The corpus these settings name. Raises ConfigError for an unknown source."""
    if settings.source not in CORPORA:
        raise ConfigError(unknown_value("corpus source", settings.source, CORPORA))
    return CORPORA[settings.source](settings)
