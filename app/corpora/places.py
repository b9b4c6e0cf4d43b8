"""What the name of a file and of the folders it lies in say of its language and its split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from app.core.languages import known_codes, normalise, recognised
from app.corpora.layouts import MC4_NAME
from app.corpora.readers import SUFFIXES

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a folder or a file's name says; ``test`` files are left alone, neither trained on nor scored."""
_SPLIT_IN_NAME = re.compile(rf"(?:c4-)?({'|'.join(SPLITS)})(?=[-_.])", re.IGNORECASE)
_LANGUAGE_KEYS = ("lang", "language")
_BETWEEN = re.compile(r"[-_.]")
_BARE_CODE_CHARACTERS = 3
_WORDS = frozenset(["am", "an", "as", "be", "he", "id", "in", "is", "it", "my", "new", "no", "or", "so", "to"])
"""Codes that people begin names with and mean no language: ``my_train.jsonl``."""


@dataclass(frozen=True)
class Place:
    """What is known of a file by its place. ``told_by``: the name that says the language, for people.

    ``is_certain``: the name can hardly be a word that looks like a code by chance.
    """

    lang: str | None = None
    split: str | None = None
    told_by: str = ""
    is_certain: bool = False


def place_of(name: PurePosixPath, base: PurePosixPath, wanted: set[str], column: str) -> Place:
    """Language and split of a file.

    name: below ``base``, the folder of the corpus, whose own name counts last. A name says a language only if the
    whole of it is a code, beside a split and numbers in a file's (``de.jsonl``, ``de-train-00001.jsonl.gz``,
    ``lang=de``): the file's goes before the nearest folder's, but one of the ``wanted`` languages before any other.
    ``column``: the corpus's name for the language, for folders such as ``language=de``. Raises CorpusError for an
    mC4 file of an unknown language.
    """
    if match := MC4_NAME.match(name.name):
        split = "validation" if match.group(2) else "train"
        return Place(normalise(match.group(1)), split, "file names of mC4", is_certain=True)
    stem = _stem(name.name)
    folders = [*reversed(name.parts[:-1])]
    # corpus.path may be `.../de/train`.
    own = base.parent.name if base.name.lower() in SPLITS else base.name
    core = _core(stem)
    named = [(core, "file name"), *((folder, f"folder {folder!r}") for folder in folders)]
    codes = [(code, word, told) for word, told in named if (code := _language_of(word, column))]
    if core.lower() in _WORDS and core != stem:
        codes = [found for found in codes if found[2] != "file name" or found[0] in wanted]
    if (code := _language_of(own, column)) and (not wanted or code in wanted):
        codes.append((code, own, f"folder {own!r}"))
    lang, word, told = next((found for found in codes if found[0] in wanted), codes[0] if codes else (None, "", ""))
    is_certain = len(word) > _BARE_CODE_CHARACTERS or not word.isalpha()
    return Place(lang, _split(name.name, stem if told == "file name" else "", folders, base), told, is_certain)


def _split(name: str, stem: str, folders: Sequence[str], base: PurePosixPath) -> str | None:
    """The file's name first, then the nearest folder. ``stem``: of a name that is a language, a split and numbers."""
    named = _SPLIT_IN_NAME.match(name)
    words = [named.group(1)] if named else _BETWEEN.split(stem)
    words += [folder.rpartition("=")[2] for folder in folders]
    return next((SPLITS[word.lower()] for word in [*words, base.name] if word.lower() in SPLITS), None)


def _stem(name: str) -> str:
    """A file's name without what says how it is written."""
    while (found := PurePosixPath(name)).suffix.lower() in SUFFIXES:
        name = found.stem
    return name


def _core(stem: str) -> str:
    """A name without the splits and numbers at its ends: ``de`` of ``de-train-00000-of-00010``."""
    core = re.sub(r"[-_.]\d+-of-\d+$", "", stem)
    # Marks are kept, since `deu_Latn` is split here as well and put together again.
    words, marks = _BETWEEN.split(core), ["", *_BETWEEN.findall(core)]
    while len(words) > 1 and _is_no_code(words[-1]):
        words, marks = words[:-1], marks[:-1]
    while len(words) > 1 and _is_no_code(words[0]):
        words, marks = words[1:], ["", *marks[2:]]
    return "".join(mark + word for mark, word in zip(marks, words, strict=True))


def _is_no_code(word: str) -> bool:
    """A split, or the number of a part; three digits after a language are a region (es-419), and no more likely."""
    return word.lower() in SPLITS or word.isdigit()


def _language_of(name: str, column: str) -> str | None:
    """The language that a whole name says; not a word of three letters that is a code nobody has a name for."""
    key, is_keyed, value = name.partition("=")
    word = value if is_keyed and key.lower() in (*_LANGUAGE_KEYS, column) else name
    if word.lower() in SPLITS:
        return None
    code = recognised(word)
    if code is None:
        return None
    return code if len(word) > _BARE_CODE_CHARACTERS or code.partition("-")[0] in known_codes() else None
