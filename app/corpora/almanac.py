"""The embedded corpus: pages of an almanac written from CLDR by Babel, in over a hundred languages.

Every page is a function of (seed, language, split, number): days and times, quantities, money, places, languages,
lists and figures, in the language's own words, digits and order. It is no prose, but it is real text in each script,
and models trained on related languages share what there is to share (months, units, names of places).
"""

from __future__ import annotations

import copy
import datetime
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from babel import Locale, dates, lists, localedata, numbers, units
from babel import __version__ as babel_version
from babel.core import get_global

from app.core.errors import CorpusError
from app.core.languages import normalise, script
from app.core.records import Document, JsonObject
from app.core.seeding import generator
from app.core.suggest import nearest
from app.corpora.base import CorpusSettings, Reject, SourceFile, Survey, document_id

_VERSION = 1  # raised when the text changes: the almanac is identified by it, not by files
_DOCUMENTS_PER_CHUNK = 200
_LINES_PER_PAGE = (7, 15)
_FIRST_DAY = datetime.date(1950, 1, 1)
_WEEKS = 5000  # to October 2045
_LEAST_NAMES = {"territories": 150, "languages": 100}
_LEAST = {
    **_LEAST_NAMES,
    "units": 30,
    "currencies": 8,
    "months": 12,
    "weekdays": 7,
    "spans": 7,
    "days": 1,
    "clocks": 1,
}
"""Completeness: how many entries of its own a language needs to have an almanac."""
_CURRENCIES = ("USD", "EUR", "JPY", "GBP", "CNY", "INR", "RUB", "BRL", "TRY", "KRW", "CHF", "EGP", "VND", "KES")
# Codes that CLDR names beside languages and countries: several or none of them, groups, pseudo-locales, unknown.
_NO_LANGUAGES = ("mis", "mul", "und", "zxx")
_NO_TERRITORIES = ("EU", "EZ", "QO", "UN", "XA", "XB", "ZZ")
# The large fields that hold no alias: Babel does not write into them, so they need no copy.
_FLAT_FIELDS = ("territories", "languages", "scripts", "variants", "currency_names", "meta_zones", "time_zones")
_SPANS = ("year", "month", "week", "day", "hour", "minute", "second")
_DIGIT_ZERO = {"arab": 0x660, "arabext": 0x6F0, "beng": 0x9E6, "cakm": 0x11136, "deva": 0x966, "mymr": 0x1040}
"""Code point of the digit 0 of the numbering systems that languages prefer to ours (Unicode, category Nd)."""
_FOREIGN = re.compile(r"[A-Za-z]{2}")
_NO_MONTH_NAME = re.compile(r"M\d\d")


class _OwnLocale(Locale):
    """A locale with data of its own.

    Babel resolves an alias by writing into a dictionary that all locales share, so that one language's words turn up
    in another, by the order of their use (babel 2.18: ``fy`` before ``be`` gives Belarusian Frisian weekdays).
    """

    @functools.cached_property
    def _data(self) -> localedata.LocaleDataDict:
        shared = localedata.load(self.language)
        return localedata.LocaleDataDict(
            {field: value if field in _FLAT_FIELDS else copy.deepcopy(value) for field, value in shared.items()}
        )


@dataclass(frozen=True)
class Words:
    """One language's vocabulary, read once: what its own CLDR file says, nothing inherited, no foreign script."""

    locale: Locale
    territories: tuple[str, ...]
    languages: tuple[str, ...]
    units: tuple[str, ...]
    currencies: tuple[str, ...]
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    spans: tuple[str, ...]
    days: tuple[dates.DateTimePattern, ...]
    clocks: tuple[dates.DateTimePattern, ...]
    moment: str
    digits: Mapping[int, int]


Topic = Callable[[Words, np.random.Generator], str]


class AlmanacCorpus:
    """Generated text; its files are chunks named ``almanac:<lang>:<split>:<chunk>``."""

    def __init__(self, settings: CorpusSettings) -> None:
        self._settings = settings

    def files(self) -> Sequence[SourceFile]:
        """See Corpus."""
        wanted = list(dict.fromkeys(normalise(code) for code in self._settings.languages)) or almanac_languages()
        missing = [code for code in wanted if not _is_complete(code)]
        if missing:
            close = nearest(missing[0], almanac_languages())
            hint = f" (near: {', '.join(close)})" if close else ""
            raise CorpusError(
                f"the almanac has no complete data for {', '.join(missing)}{hint}; take it out of corpus.languages,"
                f" or use corpus.source=files. It has {len(almanac_languages())} languages:"
                f" {', '.join(almanac_languages())}"
            )
        return [
            SourceFile(f"almanac:{lang}:{split}:{chunk}", lang, split)
            for lang in wanted
            for split, count in self._counts().items()
            for chunk in range(-(-count // _DOCUMENTS_PER_CHUNK))
        ]

    def survey(self) -> Survey:
        """See Corpus."""
        return Survey((f"almanac: {len({file.lang for file in self.files()})} languages, generated from CLDR",))

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus."""
        _, lang, split, chunk = file.uri.split(":")
        first = int(chunk) * _DOCUMENTS_PER_CHUNK
        for number in range(first, min(first + _DOCUMENTS_PER_CHUNK, self._counts()[split])):
            rng = generator(self._settings.seed, "almanac", lang, split, number)
            text = write_page(read_words(lang), rng, validation=split == "validation")
            yield Document(document_id(lang, text), lang, text, f"almanac:{lang}/{split}/{number}", "")

    def release(self, file: SourceFile) -> None:
        """See Corpus; nothing is downloaded."""

    def fingerprint(self) -> JsonObject:
        """Version of the text, version of Babel, seed and sizes."""
        counts: JsonObject = dict(self._counts())
        return {"source": "almanac", "version": _VERSION, "babel": babel_version, "seed": self._settings.seed, **counts}

    def _counts(self) -> dict[str, int]:
        settings = self._settings
        return {"train": settings.documents_per_language, "validation": settings.validation_documents_per_language}


@functools.cache
def almanac_languages() -> tuple[str, ...]:
    """Languages whose own CLDR data are complete enough (see ``_LEAST``), sorted."""
    return tuple(sorted(name for name in localedata.locale_identifiers() if "_" not in name and _is_complete(name)))


@functools.cache
def _is_complete(code: str) -> bool:
    if not localedata.exists(code) or code == "root" or normalise(code) != code:
        return False
    # The cheap test first: `read_words` reads everything.
    if any(len(_own(code, field)) < least for field, least in _LEAST_NAMES.items()):
        return False
    words = read_words(code)
    return all(len(getattr(words, field)) >= least for field, least in _LEAST.items())


@functools.cache
def read_words(lang: str) -> Words:
    """The vocabulary of one language of CLDR."""
    locale, root = _OwnLocale(lang), _OwnLocale("root")
    clean = functools.partial(_clean, is_latin=script(lang) == "Latn")
    # Without the pattern "other" Babel cannot put a number and a currency's name together.
    named = _own(lang, "currency_names") if "other" in localedata.load(lang)["currency_unit_patterns"] else {}
    fields = _own(lang, "date_fields")
    zero = _DIGIT_ZERO.get(locale.default_numbering_system, ord("0"))
    return Words(
        locale,
        clean(
            name for code, name in _own(lang, "territories").items() if code not in _NO_TERRITORIES and code.isalpha()
        ),
        clean(name for code, name in _own(lang, "languages").items() if code not in _NO_LANGUAGES and "_" not in code),
        tuple(unit for unit, forms in _own(lang, "unit_patterns").items() if clean([_long_pattern(forms)])),
        tuple(code for code in _CURRENCIES if code in named and clean([named[code]])),
        _period_names(locale.months, root.months),
        _period_names(locale.days, root.days),
        tuple(span for span in _SPANS if _has_directions(fields.get(span), clean)),
        # A day without its year would head many pages, also in both splits. The times of both samples end in 4.
        _usable(locale, _patterns(locale.date_formats, ("full", "long", "medium")), clean, "1987"),
        # Digits alone will do for every language.
        _usable(locale, [*_patterns(locale.time_formats, ("medium", "short")), "HH:mm"], clean, "4"),
        # In CLDR's patterns quotes mark literal text and are not shown.
        str(locale.datetime_formats.get("medium", "{1} {0}")).replace("'", ""),
        {ord("0") + digit: zero + digit for digit in range(10)} if zero != ord("0") else {},
    )


def _own(lang: str, field: str) -> dict[str, Any]:
    """Entries of one field of CLDR that the language does not merely inherit (``ht`` has the French names), by key."""
    inherited = localedata.load(get_global("parent_exceptions").get(lang, "root")).get(field, {})
    entries = localedata.load(lang).get(field, {})
    return {str(key): entries[key] for key in sorted(entries, key=str) if inherited.get(key) != entries[key]}


def _long_pattern(forms: Any) -> str:
    long = forms.get("long") if isinstance(forms, dict) else None
    return str(long.get("other", "")) if isinstance(long, dict) else ""


def _period_names(names: Mapping[str, Any], plain: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of months or days in running text, without those that are only the root's (``M04``)."""
    unnamed = set(plain["format"]["wide"].values())
    shown = names.get("stand-alone", {}).get("wide") or names.get("format", {}).get("wide", {})
    return tuple(name for name in shown.values() if name not in unnamed)


def _has_directions(forms: Any, clean: Callable[[list[str]], tuple[str, ...]]) -> bool:
    """Whether a span of time can be told as past and as future, e.g. ``in {0} Tagen``."""
    if not isinstance(forms, dict):
        return False
    return all(clean([str(forms.get(direction, {}).get("other", ""))]) for direction in ("past", "future"))


def _clean(names: Iterable[str], is_latin: bool) -> tuple[str, ...]:
    """Names without those that are empty or, in a language of another script, hold a word in Latin letters."""
    return tuple(name for name in names if name and (is_latin or not _FOREIGN.search(name.replace("{0}", ""))))


def _patterns(formats: Mapping[str, Any], styles: Sequence[str]) -> list[str]:
    return [formats[style].pattern for style in styles if style in formats]


def _usable(
    locale: Locale, patterns: Sequence[str], clean: Callable[[list[str]], tuple[str, ...]], must_show: str
) -> tuple[dates.DateTimePattern, ...]:
    """Patterns whose text is in the language's own words, tried on a morning of April and an evening of December."""
    samples = (datetime.datetime(1987, 4, 13, 8, 4), datetime.datetime(1987, 12, 24, 20, 14))
    found = []
    for pattern in (dates.parse_pattern(text) for text in dict.fromkeys(patterns)):
        try:
            shown = [pattern.apply(sample, locale) for sample in samples]
        except KeyError:  # names that the locale does not have
            continue
        if all(must_show in text and clean([text]) and not _NO_MONTH_NAME.search(text) for text in shown):
            found.append(pattern)
    return tuple(found)


def write_page(words: Words, rng: np.random.Generator, validation: bool) -> str:
    """One page: a day as heading and some lines, each of a random topic.

    The heading of a training page is never a Sunday and that of a validation page always is, so no page is in both.
    """
    names = list(TOPICS)
    weekday = 6 if validation else int(rng.integers(6))
    first_monday = _FIRST_DAY + datetime.timedelta(days=-_FIRST_DAY.weekday())
    heading = first_monday + datetime.timedelta(days=7 * int(rng.integers(_WEEKS)) + weekday)
    topics = rng.integers(len(names), size=int(rng.integers(*_LINES_PER_PAGE)))
    lines = [_show_day(words, heading, rng), *(TOPICS[names[topic]](words, rng) for topic in topics)]
    return "\n".join(lines).translate(words.digits)


def _pick(options: Sequence[Any], rng: np.random.Generator) -> Any:
    return options[int(rng.integers(len(options)))]


def _several(options: Sequence[str], most: int, rng: np.random.Generator) -> list[str]:
    return [options[index] for index in rng.integers(len(options), size=int(rng.integers(2, most + 1)))]


def _listed(words: Words, items: Sequence[str]) -> str:
    return lists.format_list(items, "standard", words.locale)


def _show_day(words: Words, day: datetime.date, rng: np.random.Generator) -> str:
    return str(_pick(words.days, rng).apply(day, words.locale))


def _any_day(rng: np.random.Generator) -> datetime.date:
    return _FIRST_DAY + datetime.timedelta(days=int(rng.integers(7 * _WEEKS)))


def _amount(rng: np.random.Generator) -> float:
    return int(rng.integers(1, 1000)) if rng.random() < 0.7 else round(float(rng.uniform(0.1, 99)), 1)


def _calendar(words: Words, rng: np.random.Generator) -> str:
    time = datetime.time(int(rng.integers(24)), int(rng.integers(60)), int(rng.integers(60)))
    clock = _pick(words.clocks, rng).apply(datetime.datetime.combine(_FIRST_DAY, time), words.locale)
    return f"{_pick(words.territories, rng)}: {words.moment.format(clock, _show_day(words, _any_day(rng), rng))}"


def _week(words: Words, rng: np.random.Generator) -> str:
    return _listed(words, _several(words.weekdays if rng.random() < 0.5 else words.months, 4, rng))


def _relative(words: Words, rng: np.random.Generator) -> str:
    spans = [
        # From a minute to five years, each order of magnitude as often.
        datetime.timedelta(seconds=int(10 ** rng.uniform(1.8, 8.2)) * (1 if rng.random() < 0.5 else -1))
        for _ in range(int(rng.integers(1, 4)))
    ]
    return _listed(words, [dates.format_timedelta(span, add_direction=True, locale=words.locale) for span in spans])


def _quantities(words: Words, rng: np.random.Generator) -> str:
    measures = _several(words.units, 4, rng)
    return _listed(words, [_format(units.format_unit, words, _amount(rng), unit, "long") for unit in measures])


def _money(words: Words, rng: np.random.Generator) -> str:
    code = _pick(words.currencies, rng)
    low = int(10 ** rng.uniform(0.5, 6))
    prices = [
        # Whole prices, without `5.00`.
        _format(numbers.format_currency, words, price, code, format_type="name", currency_digits=False)
        for price in (low, low + int(10 ** rng.uniform(0.5, 6)))
    ]
    return f"{_pick(words.territories, rng)}: {_listed(words, prices)}"


def _places(words: Words, rng: np.random.Generator) -> str:
    return _listed(words, _several(words.territories, 5, rng))


def _tongues(words: Words, rng: np.random.Generator) -> str:
    return f"{_pick(words.territories, rng)}: {_listed(words, _several(words.languages, 4, rng))}"


def _shares(words: Words, rng: np.random.Generator) -> str:
    shares = [
        f"{lang} {_format(numbers.format_percent, words, float(rng.random()))}"
        for lang in _several(words.languages, 3, rng)
    ]
    return _listed(words, shares)


def _format(function: Callable[..., Any], words: Words, *values: Any, **options: Any) -> str:
    """A number in the language's preferred numbering: Babel chooses the signs, ``write_page`` the digits."""
    return str(function(*values, locale=words.locale, numbering_system="default", **options))


# Pages draw by place: another order is another text, and takes another `_VERSION`.
TOPICS: Mapping[str, Topic] = {
    "calendar": _calendar,
    "week": _week,
    "relative": _relative,
    "quantities": _quantities,
    "money": _money,
    "places": _places,
    "languages": _tongues,
    "shares": _shares,
}
"""Topics of a page by name."""
