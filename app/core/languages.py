"""Language codes, normalised once, and what CLDR knows about each language.

Our code is ISO 639-1, or 639-3 where there is none. A romanised variant (``hi-Latn``) is a language of its own, as
in mC4; ``und`` is text of undetermined language.
"""

from __future__ import annotations

import functools
import re

from babel import Locale, UnknownLocaleError
from babel.core import get_global

from app.core.errors import CorpusError
from app.core.suggest import nearest

UNDETERMINED = "und"
_HUB_CONFIGS = {"en-multi": "en"}
_SHAPE = re.compile(r"^([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?$")
_RIGHT_TO_LEFT_SCRIPTS = {"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg"}


def normalise(code: str) -> str:
    """Our code for any usual spelling: ``iw`` -> he, ``en-multi`` -> en, ``deu_Latn`` -> de, ``hi-Latn`` stays.

    Raises CorpusError naming the nearest known codes.
    """
    text = code.strip()
    if text in _HUB_CONFIGS:
        return _HUB_CONFIGS[text]
    match = _SHAPE.match(text)
    language = _canonical(match.group(1).lower()) if match else ""
    if match is None or language not in _known_languages():
        close = nearest(text.title(), _names()) if len(text) > 3 else nearest(text.lower(), known_codes())
        hint = f"; the nearest known: {', '.join(_names().get(name, name) for name in close)}" if close else ""
        raise CorpusError(f"unknown language {code!r}{hint} (ISO 639-1, or 639-3 where there is none)")
    script_tag = (match.group(2) or "").title()
    if script_tag == "Latn" and script(language) != "Latn" and language != UNDETERMINED:
        return f"{language}-Latn"
    return language


@functools.cache
def known_codes() -> tuple[str, ...]:
    """Every code ``normalise`` can return, but romanised variants; sorted."""
    return tuple(sorted(_known_languages()))


def display_name(code: str, locale: str = "en") -> str:
    """Name of a language in the words of another, e.g. ``Swahili``; the code itself where CLDR has none."""
    base, _, variant = code.partition("-")
    name = Locale.parse(locale).languages.get(base, base)
    return f"{name} ({variant})" if variant else name


def native_name(code: str) -> str:
    """A language's name for itself, e.g. ``Kiswahili``; the English name where CLDR has none."""
    base = code.partition("-")[0]
    try:
        own = Locale.parse(base).languages.get(base)
    except (UnknownLocaleError, ValueError):
        own = None
    return own or display_name(code)


def script(code: str) -> str:
    """ISO 15924 code of the script the language is mostly written in, ``Zyyy`` where CLDR does not know."""
    base, _, variant = code.partition("-")
    if variant:
        return variant
    likely = get_global("likely_subtags").get(base, "")
    parts = likely.split("_")
    return parts[1] if len(parts) > 1 else "Zyyy"


def is_right_to_left(code: str) -> bool:
    """Whether the language is written from right to left."""
    return script(code) in _RIGHT_TO_LEFT_SCRIPTS


@functools.cache
def iso639_3(code: str) -> tuple[str, ...]:
    """The three-letter codes of a language, e.g. ``('deu', 'ger')``: several where ISO keeps two, sorted."""
    base = code.partition("-")[0]
    if len(base) == 3:
        return (base,)
    aliases = get_global("language_aliases")
    return tuple(sorted(old for old, new in aliases.items() if new == base and len(old) == 3))


def _canonical(language: str) -> str:
    if language in ("no", "nb"):
        return "no"  # mC4 has one Norwegian; CLDR would call it nb
    if language in ("fil", "tl"):
        return "fil"
    return str(get_global("language_aliases").get(language, language)).partition("_")[0]


@functools.cache
def _known_languages() -> frozenset[str]:
    cldr = {code.partition("_")[0] for code in Locale.parse("en").languages}
    aliases = get_global("language_aliases")
    return frozenset({code for code in cldr if code not in aliases or _canonical(code) == code} | {UNDETERMINED, "no"})


@functools.cache
def _names() -> dict[str, str]:
    return {name: code for code, name in Locale.parse("en").languages.items() if "_" not in code}
