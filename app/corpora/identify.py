"""Language identification by lingua, whose models come with its package; an optional extra."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from app.core.errors import ConfigError, CorpusError
from app.core.languages import normalise

_READ_CHARACTERS = 2000
"""Of each document; enough to be sure, and a bound for its time."""
_LEAST_LANGUAGES = 2


def confidence(lang: str, text: str) -> tuple[float, str] | None:
    """How sure lingua is that a text is in its language, 0 to 1, and the language it takes it for.

    Codes that are one to us (Norwegian's) count together. None for a language that lingua does not know: a romanised
    variant, ``und``, and most beyond its 75. Raises ConfigError where lingua is not installed.
    """
    if lang not in known_languages():
        return None
    shares = _shares(_detector(known_languages()), text[:_READ_CHARACTERS])
    return shares.get(lang, 0.0), max(shares, key=lambda code: shares[code])


def most_likely(text: str, among: Collection[str]) -> tuple[str, float] | None:
    """The language, of those ``among``, that lingua takes the end of a text for, and its share of the likelihood.

    None for text without a letter of any of them, and if lingua knows fewer than two of them: one cannot be told from
    others. The first call with these languages loads their models, some 12 MB each. Raises ConfigError where lingua is
    not installed.
    """
    known = known_languages() & frozenset(among)
    if len(known) < _LEAST_LANGUAGES:
        return None
    # All models at once, else each would be loaded in the middle of some later request.
    shares = _shares(_detector(known, preloaded=True), text[-_READ_CHARACTERS:])
    best = max(shares, key=lambda code: shares[code])
    return (best, shares[best]) if shares[best] > 0 else None


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


def _shares(detector: Any, text: str) -> dict[str, float]:
    """Code -> share of a text's likelihood; all 0 where it has no letters."""
    shares: dict[str, float] = {}
    for found in detector.compute_language_confidence_values(text):
        code = _code(found.language)
        shares[code] = shares.get(code, 0.0) + found.value
    return shares


@functools.cache
def _detector(among: frozenset[str], preloaded: bool = False) -> Any:
    library = _lingua()
    chosen = [language for language in library.Language.all() if _code(language) in among]
    builder = library.LanguageDetectorBuilder.from_languages(*chosen)
    return (builder.with_preloaded_language_models() if preloaded else builder).build()


@functools.cache
def _code(language: Any) -> str:
    return normalise(language.iso_code_639_1.name)


def _lingua() -> Any:
    try:
        import lingua  # imported late: an extra of 96 MB that only this step needs
    except ImportError as error:
        raise ConfigError(
            "to tell languages apart takes the extra langid: pip install 'xelm-ray[langid]', on every node; a corpus is"
            " read without it with corpus.language_identification=off"
        ) from error
    return lingua
