"""A folder, file, glob or URI of JSON or parquet files, plain or in mC4's layout."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.core.errors import CorpusError
from app.core.languages import normalise, recognised
from app.core.records import Document, JsonObject
from app.core.units import format_bytes
from app.corpora.base import CorpusSettings, Reject, SourceFile, Survey, Unread, first_files, hold_out_by_hash
from app.corpora.listing import Listed, Listing, list_files
from app.corpora.places import Place, place_of
from app.corpora.readers import SUFFIXES, is_readable, language_in, read_file, read_rows
from app.corpora.streams import ARCHIVES, CORRUPT
from app.corpora.traps import refuse_traps
from app.corpora.unread import BEYOND_THE_LIMIT, OTHER_LANGUAGE, UNKNOWN_KIND, refuse_most_unread, sift, tell_unread

_Placed = tuple[Listed, Place]


class FilesCorpus:
    """Files whose language is in each row, else in the file's name, else in a folder's, else the only configured.

    Folders count below ``corpus.path`` (``<lang>/...``, ``<lang>/<split>/...``), and its own name with them.
    """

    def __init__(self, settings: CorpusSettings) -> None:
        self._settings = settings

    def files(self) -> Sequence[SourceFile]:
        """See Corpus."""
        return self._found[0]

    def survey(self) -> Survey:
        """See Corpus."""
        return self._found[1]

    def read(self, file: SourceFile) -> Iterator[Document | Reject]:
        """See Corpus."""
        return read_file(file, self._settings)

    def release(self, file: SourceFile) -> None:
        """See Corpus; nothing is downloaded."""

    def fingerprint(self) -> JsonObject:
        """Names relative to the path, and sizes: the same corpus in another place is the same corpus."""
        names: list[JsonObject] = [
            {"name": self._names[file.uri], "lang": file.lang, "split": file.split, "bytes": file.size_bytes}
            for file in self.files()
        ]
        return {"source": "files", "files": names}

    @functools.cached_property
    def _listing(self) -> Listing:
        if not self._settings.path:
            raise CorpusError("corpus.source=files needs corpus.path: a folder, a file, a glob or a URI")
        listing = list_files(self._settings.path)
        if not listing.files:
            raise CorpusError(f"{self._where} does not exist or is empty{_but(listing.unread)}")
        return listing

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        return {file.uri: file.name.as_posix() for file in self._listing.files}

    @property
    def _where(self) -> str:
        return f"corpus.path {self._settings.path!r}"

    @functools.cached_property
    def _found(self) -> tuple[list[SourceFile], Survey]:
        usable, unread = self._usable()
        wanted = {normalise(code) for code in self._settings.languages}
        placed = _believe_rows([(file, self._place(file, wanted)) for file in usable], wanted, self._settings)
        kept, others = _choose(placed, wanted)
        self._require(usable, placed, kept, wanted)
        files = hold_out_by_hash([SourceFile(f.uri, p.lang, p.split, f.size_bytes, is_open=True) for f, p in kept])
        # Only of what would be read: a copy of a whole repository holds such files beside the right ones.
        refuse_traps(file.uri for file in files)
        limited = first_files(files, self._settings.max_files_per_language)
        read = {file.uri for file in limited}
        others += [Unread(self._names[f.uri], BEYOND_THE_LIMIT) for f in files if f.uri not in read]
        understood = _understood(self._where, [(f, p) for f, p in kept if f.uri in read], wanted)
        return limited, Survey(tuple(understood), (*unread, *others))

    def _usable(self) -> tuple[list[Listed], list[Unread]]:
        """Files that can be read, and the others. Raises CorpusError if these are most."""
        files, unread = self._listing.files, list(self._listing.unread)
        readable = [file for file in files if is_readable(file.name.name)]
        unread += [_of_no_kind(file) for file in files if not is_readable(file.name.name)]
        usable, empty = sift(readable)
        unread += [replace(file, name=self._names[file.name]) for file in empty]
        if not readable:
            seen = ", ".join(sorted({file.name.suffix or "no suffix" for file in files}))
            raise CorpusError(f"{self._where} holds {len(files)} files ({seen}) but none of {', '.join(SUFFIXES)}")
        refuse_most_unread(self._where, usable, unread)
        if not usable:
            raise CorpusError(f"{self._where} holds nothing to read{_but(unread)}")
        return usable, unread

    def _place(self, file: Listed, wanted: set[str]) -> Place:
        try:
            return place_of(file.name, self._listing.base, wanted, self._settings.column("lang"))
        except CorpusError as error:
            raise CorpusError(f"{file.uri}: {error}; rename the file or move it out of corpus.path") from error

    def _require(
        self, usable: Sequence[Listed], placed: Sequence[_Placed], kept: Sequence[_Placed], wanted: set[str]
    ) -> None:
        missing = wanted - {place.lang for _, place in kept}
        # A file whose name says no language may hold the missing one in its rows.
        if not kept or (missing and all(place.lang is not None for _, place in kept)):
            there = Counter(f"{place.lang} by {place.told_by}" for _, place in placed if place.lang)
            raise CorpusError(
                f"{self._where} holds {len(usable)} readable files but none to use for"
                f" {', '.join(sorted(missing)) or 'training'}; languages found: {', '.join(sorted(there)) or 'none'};"
                " set corpus.languages to those you want, or rename what is no language"
            )


def _of_no_kind(file: Listed) -> Unread:
    is_archive = file.name.name.lower().endswith((*ARCHIVES, ".zip", ".7z"))
    why = "an archive; unpack it" if is_archive else UNKNOWN_KIND
    return Unread(file.name.as_posix(), why, file.size_bytes or 0, is_loss=True)


def _but(unread: Sequence[Unread]) -> str:
    return "".join(f"; {line}" for line in tell_unread(unread))


def _believe_rows(placed: Sequence[_Placed], wanted: set[str], settings: CorpusSettings) -> list[_Placed]:
    """The files, without the language of a place whose name may be a mere word and whose rows say another.

    Asked is the first file of each such name, and only where the name would make us leave the files alone.
    """
    contradicted: dict[str, bool] = {}
    result = []
    for file, place in placed:
        if place.lang and wanted and place.lang not in wanted and not place.is_certain:
            key = file.name.as_posix() if place.told_by == "file name" else place.told_by
            if key not in contradicted:
                said = _said_by_first_row(file, settings)
                # Rows of hi-Latn do not contradict a folder `hi`.
                contradicted[key] = said is not None and said.partition("-")[0] != place.lang
            place = replace(place, lang=None, told_by="") if contradicted[key] else place
        result.append((file, place))
    return result


def _said_by_first_row(file: Listed, settings: CorpusSettings) -> str | None:
    try:
        row = next(read_rows(file.uri, settings), None)
        said = language_in(row.values, settings) if row else None
        return recognised(said) if said else None
    except (CorpusError, *CORRUPT):  # said where the file is read
        return None


def _choose(placed: Sequence[_Placed], wanted: set[str]) -> tuple[list[_Placed], list[Unread]]:
    """The files to read, and those that are left alone on purpose."""
    kept, others = [], []
    for file, place in placed:
        if place.split == "test":
            others.append(Unread(file.name.as_posix(), "test split, neither trained on nor scored"))
        elif wanted and place.lang is not None and place.lang not in wanted:
            understood = f"{place.lang} by {place.told_by}"
            others.append(Unread(file.name.as_posix(), OTHER_LANGUAGE, taken_for=understood))
        else:
            kept.append((file, place))
    return kept, others


def _understood(where: str, kept: Sequence[_Placed], wanted: set[str]) -> list[str]:
    """What the names were taken to say, for a person to object to."""
    size = format_bytes(sum(file.size_bytes or 0 for file, _ in kept))
    told = Counter(
        (place.lang, "folders" if place.told_by.startswith("folder ") else place.told_by) for _, place in kept
    )
    named = [f"{lang} by {by} ({count})" for (lang, by), count in sorted(told.items(), key=str) if lang]
    unnamed = sum(count for (lang, _), count in told.items() if lang is None)
    default = f", {next(iter(wanted))} where they say none" if len(wanted) == 1 else ""
    if unnamed:
        named.append(f"no language by name ({unnamed}): their rows say{default}")
    lines = [f"{where}: {len(kept)} files to read, {size}; {'; '.join(named)}"]
    if any(place.lang for _, place in kept):
        lines.append("a row's own language column goes before the name of its file or folder")
    return lines
