"""Which files of a corpus a run will read, from a list of them; how much text they hold is estimated by their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from app.config.schema import Config
from app.core.records import JsonObject
from app.corpora.base import SourceFile
from app.corpora.enough import expected_files
from app.corpora.sources import open_corpus
from app.corpora.splitting import PLAIN
from app.lineage.settings import corpus_settings, needed_text

NO_LANGUAGE = "(in the rows)"
"""Stands for the language of files whose names and folders tell none."""


@dataclass(frozen=True)
class LanguageFiles:
    """Of one language: files to read, of how many; their bytes as they are stored; bytes of training text, estimated.

    ``is_short``: all its files hold less text than the budget needs, as far as can be told.
    """

    files: int
    of: int
    stored_bytes: int
    text_bytes: int
    is_short: bool


def forecast_reading(config: Config) -> JsonObject:
    """``languages``, with what is read of each, ``files``, ``stored_bytes``, ``needed_bytes`` and ``text_per_byte``.

    needed_bytes: training text of each language; None where all files are read. Lists the corpus, on the Hub if it is
    there. Raises CorpusError if it cannot be listed.
    """
    files = list(open_corpus(corpus_settings(config)).files())
    texts = [_text_bytes(file, config.planning.text_per_byte) for file in files]
    needed = needed_text(config, files) if config.corpus.enough_for_budget else None
    chosen = list(range(len(files))) if needed is None else expected_files(files, needed, texts)
    languages = {
        lang: _of_language(files, texts, [number for number in chosen if files[number].lang == lang], lang, needed)
        # None, for languages that only the rows tell, cannot be compared with a code.
        for lang in sorted({file.lang for file in files}, key=lambda lang: lang or "")
    }
    return {
        "languages": {lang or NO_LANGUAGE: asdict(found) for lang, found in languages.items()},
        "files": len(chosen),
        "stored_bytes": sum(found.stored_bytes for found in languages.values()),
        "needed_bytes": needed,
        "text_per_byte": config.planning.text_per_byte,
    }


def _of_language(
    files: Sequence[SourceFile], texts: Sequence[int], chosen: Sequence[int], lang: str | None, needed: int | None
) -> LanguageFiles:
    # Held-out files are read too, but their text does not count towards the budget.
    text = sum(texts[number] for number in chosen if files[number].split != "validation")
    return LanguageFiles(
        files=len(chosen),
        of=sum(file.lang == lang for file in files),
        stored_bytes=sum(files[number].size_bytes or 0 for number in chosen),
        text_bytes=text,
        is_short=needed is not None and lang is not None and text < needed,
    )


def _text_bytes(file: SourceFile, text_per_byte: float) -> int:
    """A plain file is nearly all text."""
    is_plain = file.uri.lower().endswith(PLAIN)
    return int((file.size_bytes or 0) * (1.0 if is_plain else text_per_byte))
