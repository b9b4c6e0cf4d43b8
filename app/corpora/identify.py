"""Language identification by lingua, whose models come with its package; an optional extra."""

from __future__ import annotations

import functools
from typing import Any

from app.core.errors import ConfigError, CorpusError
from app.core.languages import normalise

_READ_CHARACTERS = 2000
"""Of each document; enough to be sure, and a bound for its time."""


def confidence(lang: str, text: str) -> tuple[float, str] | None:
    """How sure lingua is that a text is in its language, 0 to 1, and the language it takes it for.

    Codes that are one to us (Norwegian's) count together. None for a language that lingua does not know: a romanised
    variant, ``und``, and most beyond its 75. Raises ConfigError where lingua is not installed.
    """
    if lang not in known_languages():
        return None
    shares: dict[str, float] = {}
    for found in _detector().compute_language_confidence_values(text[:_READ_CHARACTERS]):
        code = _code(found.language)
        shares[code] = shares.get(code, 0.0) + found.value
    return shares.get(lang, 0.0), max(shares, key=lambda code: shares[code])


@functools.cache
def known_languages() -> frozenset[str]:
    """Our codes of the languages that lingua knows. Raises ConfigError where it is not installed."""
    codes = set()
    for language in _lingua().Language.all():
        try:
            codes.add(_code(language))
        except CorpusError:
            continue
    return frozenset(codes)


@functools.cache
def _detector() -> Any:
    return _lingua().LanguageDetectorBuilder.from_all_languages().build()


@functools.cache
def _code(language: Any) -> str:
    return normalise(language.iso_code_639_1.name)


def _lingua() -> Any:
    try:
        import lingua  # imported late: an extra of 96 MB that only this step needs
    except ImportError as error:
        raise ConfigError(
            "corpus.language_identification=lingua needs the extra langid: pip install 'xelm-ray[langid]', on every"
            " node; or set corpus.language_identification=off"
        ) from error
    return lingua
