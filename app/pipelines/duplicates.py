"""Documents that stand twice, nearly or to the letter, found slice by slice of their hashes: see ``hash_slices``."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.artifacts.layout import DIGESTS, digests_name, marks_name, signatures_name
from app.artifacts.store import Folder
from app.config.schema import Config
from app.core.records import Document
from app.corpora.base import Reject, SourceFile
from app.corpora.hash_slices import (
    RECORD_BYTES,
    Hashes,
    Numbers,
    Slice,
    count_repeats,
    pack_hashes,
    pack_marks,
    read_marks,
    read_rows,
    read_slice,
    slices_for,
)
from app.corpora.near_duplicates import band_shape, mark_repeats, sign_documents
from app.corpora.shards import part_names, read_part
from app.corpora.sources import open_corpus
from app.fleet.ray_session import ray_session
from app.lineage.settings import corpus_settings
from app.pipelines.part_tasks import Known, run_part_tasks
from app.pipelines.units import CPUS, Unit, find_units, keep_whole, missing, unit_bytes

_ROWS_AT_ONCE = 4 << 20
"""Hashes that a task compares; it holds about 40 bytes for each."""
_THREADS = 8
"""Reads that a task has under way: a slice is many short ones."""


@dataclass(frozen=True)
class Marks:
    """Which documents of each unit are near-duplicates, in files of the stage. ``places``: of the units, by name."""

    stage: Folder
    names: tuple[str, ...]
    places: Mapping[str, int]

    def of(self, unit: str) -> frozenset[int]:
        """Numbers of the unit's documents to drop, in reading order."""
        if not self.names:
            return frozenset()
        place, units = self.places[unit], len(self.places)

        def read(name: str) -> Numbers:
            return read_marks(functools.partial(self.stage.read_range, name), place, units)

        with ThreadPoolExecutor(_THREADS) as pool:
            return frozenset(np.concatenate(list(pool.map(read, self.names))).tolist())


def find_near_duplicates(config: Config, files: Sequence[SourceFile], stage: Folder) -> Marks:
    """The near-duplicates of all files; signatures and marks that are there are used again.

    All files are compared, those that are sharded already too, so that a rerun drops the same documents.
    """
    if config.corpus.near_duplicates == "off":
        return Marks(stage, (), {})
    units, rows = _signed(config, files, stage)
    bands, parts = band_shape(config.corpus.near_duplicate_threshold)[0], slices_for(rows, _ROWS_AT_ONCE)
    wanted = [Slice(band, part, parts) for band in range(bands) for part in range(parts)]
    signatures = [signatures_name(unit.name) for unit in units]
    # Marks know a unit by its place among all. A file that turns out torn becomes one unit and moves the others,
    # so marks of the old places must not be found again: the names of all units are part of the marks' name.
    digest = hashlib.blake2b("".join(signatures).encode(), digest_size=4).hexdigest()
    names = [marks_name(digest, each.column, each.part, each.parts) for each in wanted]

    def mark_one(at: int) -> dict[str, int]:
        marks = mark_repeats(_read_slices(stage, signatures, wanted[at]))
        stage.write(names[at], pack_marks(marks))
        return {"repeats": sum(numbers.size for numbers in marks)}

    each = rows / parts * RECORD_BYTES
    run_part_tasks(
        "near-duplicates",
        "slices compared",
        mark_one,
        missing(stage, names),
        CPUS,
        dict.fromkeys(range(len(names)), each),
        config.corpus.task_bytes,
        known=lambda at: {} if stage.exists(names[at]) else None,
    )
    return Marks(stage, tuple(names), {unit.name: place for place, unit in enumerate(units)})


def count_duplicates(
    config: Config, stage: Folder, documents: Mapping[str, int], sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Of each language the training documents that repeat one, and the held-out ones that are trained on.

    documents, sizes: number, and bytes of text, by ``<lang>/<split>``.
    """
    groups = [(name.partition("/")[0], name.partition("/")[2]) for name in sorted(documents)]
    parts = {group: part_names(stage, *group) for group in groups}
    named = [(lang, split, part) for (lang, split), found in parts.items() for part in found]
    digests = [digests_name(*names) for names in named]

    def digest_one(at: int) -> dict[str, int]:
        doc_ids = read_part(stage, *named[at], ["doc_id"])["doc_id"].to_pylist()
        # A doc_id is already a hash of language and text, 16 hex digits: equal ones stand for equal texts.
        hashes = np.frombuffer(bytes.fromhex("".join(doc_ids)), dtype=">u8").astype(np.uint64)
        stage.write(digests[at], pack_hashes([hashes]))
        return {"documents": len(doc_ids)}

    languages = sorted({name.partition("/")[0] for name in documents})
    rows = {lang: sum(documents.get(f"{lang}/{split}", 0) for split in ("train", "validation")) for lang in languages}
    cut = {lang: slices_for(rows[lang], _ROWS_AT_ONCE) for lang in languages}
    wanted = [(lang, Slice(0, part, cut[lang])) for lang in languages for part in range(cut[lang])]

    def count_one(at: int) -> dict[str, int]:
        lang, piece = wanted[at]
        held = {}
        for split in ("train", "validation"):
            names = [digests_name(lang, split, part) for part in parts.get((lang, split), [])]
            # np.concatenate refuses an empty list, and a language may have no part in one of the splits.
            held[split] = np.concatenate([np.empty(0, np.uint64), *(h for h, _ in _read_slices(stage, names, piece))])
        within, across = count_repeats(held["train"], held["validation"])
        return {"repeats": within, "held out and trained on": across}

    with ray_session(config.cluster):
        work = {at: sizes[f"{lang}/{split}"] / len(parts[lang, split]) for at, (lang, split, _) in enumerate(named)}
        most = config.corpus.task_bytes
        known: Known = lambda at: {} if stage.exists(digests[at]) else None  # noqa: E731
        run_part_tasks("duplicates", "parts", digest_one, range(len(digests)), CPUS, work, most, known=known)
        work = {at: rows[lang] / cut[lang] * RECORD_BYTES for at, (lang, _) in enumerate(wanted)}
        done = run_part_tasks("duplicates", "slices compared", count_one, range(len(wanted)), CPUS, work, most)
    stage.remove(DIGESTS)
    found = dict.fromkeys(languages, (0, 0))
    for at, (lang, _) in enumerate(wanted):
        within, across = found[lang]
        found[lang] = within + done[at]["repeats"], across + done[at]["held out and trained on"]
    return found


def _signed(config: Config, files: Sequence[SourceFile], stage: Folder) -> tuple[list[Unit], int]:
    """All units, whose signatures are there now, and how many documents they have."""
    settings, threshold = corpus_settings(config), config.corpus.near_duplicate_threshold
    units = find_units(config, files, range(len(files)), stage)
    names = [signatures_name(unit.name) for unit in units]

    def sign_one(at: int) -> dict[str, int]:
        unit, torn = units[at], list[Reject]()

        def rows() -> Iterator[Document | Reject]:
            for row in open_corpus(settings).read(unit.file):
                if isinstance(row, Reject) and row.reason == "corrupt_stream":
                    torn.append(row)
                yield row

        columns = sign_documents(rows(), threshold)
        # What is kept of a torn file depends on where reading begins, and marks count documents: read in spans, it
        # would have others than read whole. Without signatures it is found below and read as one unit.
        if unit.span is None or not torn:
            stage.write(names[at], pack_hashes(columns))
        return {"documents": columns[0].size}

    def signed(at: int) -> dict[str, int] | None:
        name = names[at]
        return {"documents": read_rows(functools.partial(stage.read_range, name))} if stage.exists(name) else None

    unsigned, most = missing(stage, names), config.corpus.task_bytes
    done = run_part_tasks("near-duplicates", "units", sign_one, unsigned, CPUS, unit_bytes(units), most, known=signed)
    if torn := {units[at].number for at in missing(stage, names)}:
        for number in torn:
            keep_whole(stage, number)
        # This ends: a whole file is signed even if it is torn, so each turn leaves fewer files in spans.
        return _signed(config, files, stage)
    # Those that an earlier attempt signed: only the header is read of each.
    known = [at for at in range(len(units)) if at not in done]
    rows_known = (read_rows(functools.partial(stage.read_range, names[at])) for at in known)
    return units, sum(counts["documents"] for counts in done.values()) + sum(rows_known)


def _read_slices(stage: Folder, names: Sequence[str], wanted: Slice) -> list[tuple[Hashes, Numbers]]:
    """The same slice of each of these files, in their order."""

    def read(name: str) -> tuple[Hashes, Numbers]:
        return read_slice(functools.partial(stage.read_range, name), wanted)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, names))
