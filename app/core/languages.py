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
# The Hub's name of mC4's English, which has not the shape of a code.
_HUB_CONFIGS = {"en-multi": "en"}
# Language, script, region.
_SHAPE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?")
_RIGHT_TO_LEFT_SCRIPTS = {"Adlm", "Arab", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"}
_UNKNOWN_SCRIPT = "Zyyy"
_MERGED = {"nb": "no", "tl": "fil"}
"""Codes that CLDR keeps apart, or may, and multilingual corpora do not: mC4 has one Norwegian and one Filipino."""


def normalise(code: str) -> str:
    """Our code for any usual spelling: ``iw`` -> he, ``en-multi`` -> en, ``deu_Latn`` -> de, ``hi-Latn`` stays.

    A script other than Latin and a region are dropped (``zh-Hant-TW`` -> zh): they do not make another language here.
    Known are the languages CLDR has a name for, and any other ISO 639-3 code whose script it knows (``aai_Latn``).
    Script and region must be ones that CLDR knows, so that ``my_text`` is not Burmese. A code that stands for a
    language in another script keeps it: ``sh`` and ``hbs_Latn`` are sr-Latn.
    Raises CorpusError naming the nearest known codes.
    """
    if (found := recognised(code)) is not None:
        return found
    close = _nearest_codes(code.strip())
    hint = f"; did you mean {close[0]}?" if close else ";"
    others = f" Near it are also {', '.join(close[1:])}." if close[1:] else ""
    raise CorpusError(f"unknown language {code!r}{hint}{others} Codes are ISO 639-1, or 639-3 where there is none")


# Asked for each part of each file's name and for each row of some corpora: among them few different words.
@functools.lru_cache(maxsize=1 << 14)
def recognised(code: str) -> str | None:
    """See ``normalise``; None where that raises, without the search for what may have been meant."""
    text = code.strip()
    if text.lower() in _HUB_CONFIGS:
        return _HUB_CONFIGS[text.lower()]
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    spoken, written, region = match.groups()
    language, implied = _canonical(spoken.lower())
    known = language in _named_codes() or script(language) != _UNKNOWN_SCRIPT
    if not known or not _is_subtag(written, "scripts") or not _is_subtag(region, "territories"):
        return None
    # Where the usual script is not known, Latin letters may be just that: no variant is made of it.
    romanised = (written or implied).title() == "Latn" and script(language) not in ("Latn", _UNKNOWN_SCRIPT)
    return f"{language}-Latn" if romanised else language


@functools.cache
def known_codes() -> tuple[str, ...]:
    """The codes of the languages that CLDR has a name for, without romanised variants; sorted."""
    return tuple(sorted(_named_codes()))


def display_name(code: str, locale: str = "en") -> str:
    """Name of a language in the words of another, e.g. ``Swahili``; the code itself where CLDR has none."""
    base, _, variant = code.partition("-")
    words = Locale.parse(locale)
    name = str(words.languages.get(base, base))
    return f"{name} ({words.scripts.get(variant, variant)})" if variant else name


def native_name(code: str) -> str:
    """A language's name for itself, e.g. ``Kiswahili``; the English name where CLDR has none."""
    base = code.partition("-")[0]
    try:
        own = Locale.parse(base).languages.get(base)
    except (UnknownLocaleError, ValueError):
        own = None
    return own or display_name(base)


def script(code: str) -> str:
    """ISO 15924 code of the script the language is mostly written in, ``Zyyy`` where CLDR does not know."""
    base, _, variant = code.partition("-")
    if variant:
        return variant
    if base == UNDETERMINED:
        return _UNKNOWN_SCRIPT
    parts = get_global("likely_subtags").get(base, "").split("_")
    return parts[1] if len(parts) > 1 else _UNKNOWN_SCRIPT


def is_right_to_left(code: str) -> bool:
    """Whether the language is written from right to left."""
    return script(code) in _RIGHT_TO_LEFT_SCRIPTS


@functools.cache
def iso639_3(code: str) -> tuple[str, ...]:
    """The three-letter codes of a language, sorted, e.g. ``('deu', 'ger')``.

    Several where ISO 639-2 keeps two, or where CLDR counts a member of a macrolanguage as the language (``arb``).
    """
    base = code.partition("-")[0]
    if len(base) == 3:
        return (base,)
    aliases = get_global("language_aliases")
    return tuple(sorted(old for old, new in aliases.items() if new == base and len(old) == 3))


def _canonical(language: str) -> tuple[str, str]:
    """The code that stands for a language now, and the script that goes with it if the old code says one."""
    if language in _MERGED.values():
        return language, ""
    now, *others = str(get_global("language_aliases").get(language, language)).split("_")
    return _MERGED.get(now, now), next((other for other in others if len(other) == 4), "")


def _is_subtag(name: str | None, kind: str) -> bool:
    """Whether CLDR has the script or territory; not given is as good."""
    # CLDR writes scripts like Latn and territories like DE; people write either in any case.
    return name is None or {name.title(), name.upper()} & _subtags(kind) != set()


@functools.cache
def _subtags(kind: str) -> frozenset[str]:
    return frozenset(map(str, getattr(Locale.parse("en"), kind)))


@functools.cache
def _named_codes() -> frozenset[str]:
    bare = {str(code) for code in Locale.parse("en").languages if "_" not in str(code)}
    return frozenset({code for code in bare if _canonical(code) == (code, "")} | {UNDETERMINED, "no"})


@functools.cache
def _codes_by_name() -> dict[str, str]:
    """Names in small letters, of a language for itself and in English, to codes; the locale of each has to be read."""
    names = {native_name(code).lower(): code for code in known_codes()}
    return names | {display_name(code).lower(): code for code in known_codes()}


def _nearest_codes(text: str) -> list[str]:
    """Known codes like ``text``; of a country's code, its language; of a longer word, the languages named like it."""
    base = re.split("[-_]", text)[0].lower()
    if len(base) <= 3:
        spoken = get_global("likely_subtags").get(f"und_{base.upper()}", "").split("_")[0]
        close = [code for code in (spoken, *nearest(base, known_codes())) if code]
        return list(dict.fromkeys(close)) or [code for code in known_codes() if code[0] == base[:1]][:3]
    names = _codes_by_name()
    return list(dict.fromkeys(names[name] for name in nearest(text.lower(), names)))
