"""The text of the benchmarks: a folder in mC4's layout, or the embedded almanac."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import islice

from app.core.records import Document
from app.corpora.base import CorpusSettings
from app.corpora.sources import open_corpus

LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh")
DEMO_SEED = str(files("app.models") / "demo_seed")


def read_text(corpus: str, documents_per_language: int, languages: Sequence[str] = LANGUAGES) -> list[Document]:
    """The first training documents of each language, at most this many; the almanac where ``corpus`` is empty."""
    settings = CorpusSettings(
        source="files" if corpus else "almanac",
        path=corpus or None,
        languages=tuple(languages),
        documents_per_language=documents_per_language,
    )
    opened = open_corpus(settings)
    by_language: dict[str, list[Document]] = {}
    for file in opened.files():
        if file.split == "train" and file.lang is not None:
            found = by_language.setdefault(file.lang, [])
            rows = (row for row in opened.read(file) if isinstance(row, Document))
            found += islice(rows, documents_per_language - len(found))
    return [document for lang in sorted(by_language) for document in by_language[lang]]
