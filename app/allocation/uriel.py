"""URIEL's tables as shipped in the lang2vec package, read with numpy: syntax features and genealogy.

The package's module is not imported (it needs setuptools' removed ``pkg_resources``), nor is its pickled
table used. The tables are CC BY-SA 4.0 and are not copied into this project.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from app.allocation.base import Fallback, Typology
from app.allocation.distances import informative, typological_distances
from app.core.errors import AllocationError
from app.core.languages import iso639_3, known_codes, script
from app.core.records import FloatArray

_STANDARD_FORM = {"fil": "tgl"}
"""Filipino is the standard form of Tagalog; URIEL knows the latter."""


def read_typology(languages: Sequence[str], min_features: int, fallback: Fallback) -> Typology:
    """Syntax features of the languages, in their order.

    A language with fewer than ``min_features`` known values borrows those of its closest relative that has
    enough (``family``: of all languages; ``nearest_script``: of those written in the same script). Raises
    AllocationError naming the language and the cure if ``fallback`` is ``error`` or nobody can lend.
    """
    rows = [_features_or_borrowed(lang, min_features, fallback) for lang in languages]
    return Typology(tuple(languages), np.array(rows, dtype=np.float64).reshape(len(rows), -1))


def syntax_features(lang: str) -> FloatArray:
    """(f,) URIEL ``syntax_average`` of a language (our code), NaN where unknown; all NaN if URIEL has none.

    Of the macro-language's code and the individual ones the best known is taken, the macro code if equal.
    """
    return _syntax_table()[1].get(_uriel_code(lang), _nothing_known())


def known_count(features: FloatArray) -> int:
    """Number of known features."""
    return int(np.count_nonzero(~np.isnan(features)))


def closest_relative(lang: str, candidates: Iterable[str]) -> str | None:
    """The candidate that shares most of the language's branch of the family tree; None if nobody shares any.

    Equal branches are decided by the smaller difference in the tree, then by more known syntax features, then
    by code.
    """
    own = _branches().get(_uriel_code(lang), frozenset())
    best: tuple[tuple[int, int, int, str], str] | None = None
    for candidate in candidates:
        code = _uriel_code(candidate)
        branch = _branches().get(code, frozenset())
        if candidate == lang or not own & branch:
            continue
        rank = (-len(own & branch), len(own ^ branch), -known_count(syntax_features(candidate)), candidate)
        best = min(best, (rank, candidate)) if best else (rank, candidate)
    return best[1] if best else None


def stand_in(lang: str, candidates: Iterable[str], fallback: Fallback) -> str | None:
    """The candidate that answers for a language under the fallback rule, or None."""
    if fallback == "error":
        return None
    if fallback == "nearest_script":
        same = [code for code in candidates if code != lang and script(code) == script(lang)]
        # A script may hold no relative at all; then the language of which most is known answers.
        return closest_relative(lang, same) or min(same, key=_best_described, default=None)
    return closest_relative(lang, candidates)


def donor_ranking(
    lang: str, known: Sequence[str], min_features: int = 1, fallback: Fallback = "error"
) -> list[tuple[str, float]]:
    """Known languages with their typological distance to ``lang``, the nearest (the donor of HMR) first.

    min_features, fallback: as ``read_typology``; languages that it would refuse are left out; empty if it refuses
    ``lang``. Source: arXiv 2401.10440, HMR.
    """
    features: dict[str, FloatArray] = {}
    for code in (lang, *known):
        with suppress(AllocationError):
            features[code] = _features_or_borrowed(code, min_features, fallback)
    described = [code for code in known if code != lang and code in features]
    if lang not in features or not described:
        return []
    table = informative(np.array([features[code] for code in (lang, *described)]))
    distances = typological_distances(table)[0, 1:].tolist()
    return sorted(zip(described, distances, strict=True), key=lambda pair: (pair[1], pair[0]))


def distances_between(languages: Sequence[str], min_features: int) -> dict[str, dict[str, float]]:
    """Language -> language -> typological distance, of those that have ``min_features`` known features themselves."""
    rows = {lang: syntax_features(lang) for lang in languages}
    known = [lang for lang, features in rows.items() if known_count(features) >= min_features]
    if not known:
        return {}
    table = typological_distances(informative(np.array([rows[lang] for lang in known]))).tolist()
    return {lang: dict(zip(known, row, strict=True)) for lang, row in zip(known, table, strict=True)}


def _best_described(lang: str) -> tuple[int, str]:
    return -known_count(syntax_features(lang)), lang


def _features_or_borrowed(lang: str, min_features: int, fallback: Fallback) -> FloatArray:
    features = syntax_features(lang)
    count = known_count(features)
    if count >= min_features:
        return features
    lenders = [code for code in _lenders(fallback) if known_count(syntax_features(code)) >= min_features]
    lender = stand_in(lang, lenders, fallback)
    if lender is None:
        raise AllocationError(
            f"language {lang!r} has {count} known syntax features in URIEL, fewer than "
            f"allocation.min_features={min_features}{_tried(fallback)}; set allocation.fallback to family or "
            f"nearest_script, or leave {lang!r} out of corpus.languages"
        )
    return syntax_features(lender)


def _tried(fallback: Fallback) -> str:
    return "" if fallback == "error" else f", and allocation.fallback={fallback} finds no language to borrow from"


def _lenders(fallback: Fallback) -> Sequence[str]:
    # The script is known for our own codes only; a relative may be any language of URIEL.
    return known_codes() if fallback == "nearest_script" else list(_syntax_table()[1])


@functools.cache
def _uriel_code(lang: str) -> str:
    """URIEL's ISO 639-3 code of our language code; ``lang`` itself if there is none."""
    letters, table = _syntax_table()
    base = lang.partition("-")[0]
    codes = [letters[base]] if base in letters else []
    codes += [code for code in (*iso639_3(base), _STANDARD_FORM.get(base, base)) if code not in codes]
    # max() takes the first of equals: the macro code stands first.
    return max(codes, key=lambda code: known_count(table[code]) if code in table else -1)


def _nothing_known() -> FloatArray:
    table = _syntax_table()[1]
    return np.full_like(next(iter(table.values())), np.nan)


@functools.cache
def _syntax_table() -> tuple[Mapping[str, str], Mapping[str, FloatArray]]:
    """ISO 639-1 to 639-3 (the macro code where there is one), and features by 639-3 code."""
    letters: dict[str, str] = json.loads(_data("letter_codes.json").read_text("utf-8"))
    with np.load(_data("feature_averages.npz"), allow_pickle=False) as table:
        # (languages, features, sources), and there is one source: the average. Syntax is what begins with S_.
        columns = np.char.startswith(table["feats"], "S_")
        features = table["data"][:, columns, 0].astype(np.float64)
        codes = table["langs"].tolist()
    features[features == -1] = np.nan
    return letters, dict(zip(codes, features, strict=True))


def _data(name: str) -> Path:
    """A file of the package, found by its installation and not by its name among the modules: beside ``serve`` and
    ``ray`` there is a program ``lang2vec.py``, which hides the package from whatever they start."""
    return Path(str(distribution("lang2vec").locate_file(f"lang2vec/data/{name}")))


@functools.cache
def _branches() -> Mapping[str, frozenset[int]]:
    """Nodes of the family tree above each language, by 639-3 code."""
    with np.load(_data("family_features.npz"), allow_pickle=False) as table:
        rows, nodes = np.nonzero(table["data"][:, :, 0] == 1)
        codes = table["langs"].tolist()
    # np.nonzero goes row by row, so the nodes of a language are one slice.
    bounds = np.searchsorted(rows, np.arange(len(codes) + 1))
    return {code: frozenset(nodes[bounds[i] : bounds[i + 1]].tolist()) for i, code in enumerate(codes)}
