"""Corpora by name. Adding one: a file and a line here, or a line in ``layouts`` for one of the Hub's; a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.core.errors import ConfigError
from app.core.suggest import unknown_value
from app.corpora.almanac import AlmanacCorpus
from app.corpora.base import Corpus, CorpusSettings
from app.corpora.files import FilesCorpus
from app.corpora.hub import HubCorpus
from app.corpora.layouts import LAYOUTS

CORPORA: Mapping[str, Callable[[CorpusSettings], Corpus]] = {
    "almanac": AlmanacCorpus,
    "files": FilesCorpus,
    **dict.fromkeys(LAYOUTS, HubCorpus),
}


def open_corpus(settings: CorpusSettings) -> Corpus:
    """The corpus these settings name. Raises ConfigError for an unknown source."""
    if settings.source not in CORPORA:
        raise ConfigError(unknown_value("corpus source", settings.source, CORPORA))
    return CORPORA[settings.source](settings)
