"""The embedded corpus: pages of an almanac written from CLDR by Babel, in over a hundred languages.

Every page is a function of (seed, language, split, number): dates, moments, quantities, money, places, languages and
lists, in the language's own words, digits and order. It is no prose, but it is real text in each script, and models
trained on related languages share what there is to share (months, units, names of places).
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from babel import Locale, dates, lists, localedata, numbers, units

from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document, JsonObject
from app.core.seeding import generator
from app.core.suggest import nearest
from app.corpora.base import CorpusSettings, Reject, SourceFile, document_id

_VERSION = 1  # raised when the text changes: the almanac is identified by it, not by files
_DOCUMENTS_PER_CHUNK = 200
_LEAST_OWN_ENTRIES = {"territories": 150, "languages": 100, "unit_patterns": 60, "currency_names": 60}
_LINES_PER_DOCUMENT = (5, 12)
_CURRENCIES = ("USD", "EUR", "JPY", "GBP", "CNY", "INR", "RUB", "BRL", "TRY", "KRW", "CHF", "EGP", "VND", "KES")


@dataclass(frozen=True)
class _Words:
    """One language's vocabulary, read once."""

    locale: Locale
    territories: tuple[str, ...]
    languages: tuple[str, ...]
    units: tuple[str, ...]
    currencies: tuple[str, ...]


Topic = Callable[[_Words, np.random.Generator], str]


class AlmanacCorpus:
    """Generated text; its files are chunks named ``almanac:<lang>:<split>:<chunk>``."""

    def __init__(self, settings: CorpusSettings) -> None:
        self._settings = settings

    def files(self) -> Sequence[SourceFile]:
        """See Corpus."""
        wanted = [normalise(code) for code in self._settings.languages] or list(almanac_languages())
        missing = [code for code in wanted if code not in almanac_languages()]
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

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus."""
        _, lang, split, chunk = file.uri.split(":")
        first = int(chunk) * _DOCUMENTS_PER_CHUNK
        last = min(first + _DOCUMENTS_PER_CHUNK, self._counts()[split])
        words = _words(lang)
        for number in range(first, last):
            text = write_page(words, generator(self._settings.seed, "almanac", lang, split, number))
            yield Document(document_id(lang, text), lang, text, f"almanac:{lang}/{split}/{number}", "")

    def fingerprint(self) -> JsonObject:
        """Version of the text, version of CLDR's wrapper, seed and sizes."""
        from babel import __version__ as babel_version

        counts: JsonObject = dict(self._counts())
        return {"source": "almanac", "version": _VERSION, "babel": babel_version, "seed": self._settings.seed, **counts}

    def _counts(self) -> dict[str, int]:
        settings = self._settings
        return {"train": settings.documents_per_language, "validation": settings.validation_documents_per_language}


@functools.cache
def almanac_languages() -> tuple[str, ...]:
    """Languages whose own CLDR data are complete enough, sorted.

    Own means not merely inherited from CLDR's root: enough territories, languages, units and currencies, and names
    of its own for all twelve months and seven days.
    """
    found = set()
    for name in localedata.locale_identifiers():
        if "_" in name or name == "root":
            continue
        try:
            code = normalise(name)
        except CorpusError:
            continue
        if code == name and _is_complete(name):
            found.add(code)
    return tuple(sorted(found))


def _own(lang: str, field: str) -> dict[str, Any]:
    """Entries of one field that differ from the root's, by key."""
    root = localedata.load("root").get(field, {})
    entries = localedata.load(lang).get(field, {})
    return {str(key): entries[key] for key in sorted(entries, key=str) if root.get(key) != entries[key]}


def _is_complete(lang: str) -> bool:
    enough = all(len(_own(lang, field)) >= least for field, least in _LEAST_OWN_ENTRIES.items())
    locale, root = Locale.parse(lang), Locale("root")
    months, days = locale.months["format"]["wide"], locale.days["format"]["wide"]
    plain = root.months["format"]["wide"], root.days["format"]["wide"]
    named = not set(months.values()) & set(plain[0].values()) and not set(days.values()) & set(plain[1].values())
    return enough and named and len(months) == 12 and len(days) == 7


@functools.cache
def _words(lang: str) -> _Words:
    locale = Locale.parse(lang)
    territories = tuple(name for code, name in _own(lang, "territories").items() if code.isalpha() and len(code) == 2)
    languages = tuple(name for code, name in _own(lang, "languages").items() if "_" not in code)
    measures = tuple(unit for unit, forms in _own(lang, "unit_patterns").items() if "other" in forms.get("long", {}))
    currencies = tuple(code for code in _CURRENCIES if code in _own(lang, "currency_names"))
    return _Words(locale, territories, languages, measures, currencies)


def write_page(words: _Words, rng: np.random.Generator) -> str:
    """One page: a heading date and five to eleven lines, each of a random topic."""
    topics = rng.integers(len(TOPICS), size=int(rng.integers(*_LINES_PER_DOCUMENT)))
    names = list(TOPICS)
    return "\n".join([_date(words, rng), *(TOPICS[names[topic]](words, rng) for topic in topics)])


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _day(rng: np.random.Generator) -> datetime.date:
    return datetime.date(1950, 1, 1) + datetime.timedelta(days=int(rng.integers(40_000)))


def _date(words: _Words, rng: np.random.Generator) -> str:
    return dates.format_date(_day(rng), _pick(("full", "long", "medium"), rng), locale=words.locale)


def _calendar(words: _Words, rng: np.random.Generator) -> str:
    moment = datetime.datetime.combine(_day(rng), datetime.time(int(rng.integers(24)), int(rng.integers(60))))
    place = _pick(words.territories, rng)
    return f"{place}: {dates.format_datetime(moment, _pick(('long', 'medium', 'short'), rng), locale=words.locale)}"


def _moment(words: _Words, rng: np.random.Generator) -> str:
    spans = []
    for _ in range(int(rng.integers(1, 4))):
        seconds = int(10 ** rng.uniform(1.8, 8.2)) * (1 if rng.random() < 0.5 else -1)
        span = datetime.timedelta(seconds=seconds)
        spans.append(dates.format_timedelta(span, add_direction=True, locale=words.locale))
    return lists.format_list(spans, "standard", words.locale)


def _quantities(words: _Words, rng: np.random.Generator) -> str:
    shown = []
    for _ in range(int(rng.integers(2, 5))):
        amount = int(rng.integers(1, 1000)) if rng.random() < 0.7 else round(float(rng.uniform(0.1, 99)), 1)
        shown.append(units.format_unit(amount, _pick(words.units, rng), "long", locale=words.locale))
    return lists.format_list(shown, "standard", words.locale)


def _money(words: _Words, rng: np.random.Generator) -> str:
    code = _pick(words.currencies, rng)
    low = int(10 ** rng.uniform(0.5, 6))
    shown = [
        numbers.format_currency(amount, code, locale=words.locale, format_type="name", currency_digits=False)
        for amount in (low, low + int(10 ** rng.uniform(0.5, 6)))
    ]
    return f"{_pick(words.territories, rng)}: {lists.format_list(shown, 'standard', words.locale)}"


def _places(words: _Words, rng: np.random.Generator) -> str:
    named = [_pick(words.territories, rng) for _ in range(int(rng.integers(2, 6)))]
    return lists.format_list(named, "standard", words.locale)


def _tongues(words: _Words, rng: np.random.Generator) -> str:
    spoken = [_pick(words.languages, rng) for _ in range(int(rng.integers(1, 5)))]
    return f"{_pick(words.territories, rng)}: {lists.format_list(spoken, 'standard', words.locale)}"


def _shares(words: _Words, rng: np.random.Generator) -> str:
    shown = [
        f"{_pick(words.languages, rng)} {numbers.format_percent(float(rng.random()), locale=words.locale)}"
        for _ in range(int(rng.integers(2, 4)))
    ]
    return lists.format_list(shown, "standard", words.locale)


TOPICS: Mapping[str, Topic] = {
    "calendar": _calendar,
    "moments": _moment,
    "quantities": _quantities,
    "money": _money,
    "places": _places,
    "languages": _tongues,
    "shares": _shares,
}
"""Topics of a page by name."""
