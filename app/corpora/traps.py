"""Files that look like a corpus and are not the one that was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.core.errors import CorpusError
from app.corpora.layouts import MC4_NAME

# The Hub's addresses write the slashes of a revision as %2F.
_CONVERTED = re.compile(r"refs(?:/|%2F)convert(?:/|%2F|$)")
_PARTIAL = re.compile(r"(?:^|/)partial-[^/]+/[^/]*\.parquet$")
_REMOVED = re.compile(r"(?:^|/)[a-z]{3}_[A-Z][a-z]{3}_removed/")
_PLAIN_C4 = re.compile(r"(?:^|/)(?:en|en\.no\w+|realnewslike)/c4-(?:train|validation)\.\d+-of-\d+\.json\.gz$")
# In the Hub's cache the repository's folder is called `datasets--allenai--c4`.
_C4_REPOSITORY = re.compile(r"allenai(?:/|--)c4(?:@|/|$)")


def refuse_traps(paths: Iterable[str], as_mc4: bool = False) -> None:
    """Raise CorpusError if one of the files must not be trained on unawares, naming it and what to use instead.

    The Hub's converted parquet, where ``partial-`` says that it holds only the first gigabytes; FineWeb-2's
    ``_removed`` documents, which its filters threw out; plain C4 (Hub config ``en``) read ``as_mc4``, beside mC4
    files or in their repository, where mC4's English is ``en-multi``.
    """
    listed = list(paths)
    has_mc4 = as_mc4 or any(MC4_NAME.match(path.rpartition("/")[2]) for path in listed)
    for path in listed:
        if _PARTIAL.search(path):
            raise CorpusError(
                f"{path}: the Hub's converted parquet is only a part of this data set; use the data set's own files:"
                " set corpus.source to its name, or corpus.path to a copy of its main branch"
            )
        if _REMOVED.search(path):
            raise CorpusError(
                f"{path}: these are documents that FineWeb-2's filters removed; use the folder without _removed"
            )
        if _PLAIN_C4.search(path) and (has_mc4 or _C4_REPOSITORY.search(path)):
            raise CorpusError(
                f"{path}: this is plain C4 (Hub config en), not the English of mC4; use en-multi, the files"
                " multilingual/c4-en.*.json.gz: set corpus.path to the folder multilingual, or corpus.source=mc4"
            )


def refuse_converted(revision: str) -> None:
    """Raise CorpusError for the Hub's converted parquet as a revision: it may be partial, and its layout differs."""
    if _CONVERTED.search(revision):
        raise CorpusError(
            f"corpus.revision {revision!r} is the Hub's converted parquet, which may be only a part of the data set;"
            " set a commit of its main branch, or leave it empty for the pinned one"
        )
