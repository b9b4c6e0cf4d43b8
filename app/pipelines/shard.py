"""Corpus to shards with Ray Data: tasks over source files and spans of them; a rerun skips what is done."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence

from app.artifacts.layout import PIECES, REJECTS, SIGNATURES, sidecar_name
from app.artifacts.lease import left_to_make
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import JsonObject
from app.corpora.base import SourceFile
from app.corpora.enough import next_files
from app.corpora.identify import known_languages
from app.corpora.losses import refuse_most_lost
from app.corpora.pieces import write_piece, written_piece
from app.corpora.screening import screen
from app.corpora.shards import read_sidecar, shard_file
from app.corpora.sources import open_corpus
from app.corpora.unread import BEYOND_THE_LIMIT
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import corpus_settings, needed_text
from app.pipelines.data_card import DataCard, make_card, read_card, tell_card, tell_survey
from app.pipelines.duplicates import count_duplicates, find_near_duplicates
from app.pipelines.enough_text import require_enough_text
from app.pipelines.part_tasks import run_part_tasks
from app.pipelines.side_by_side import each
from app.pipelines.units import (
    CPUS,
    PART_BYTES,
    find_units,
    join_pieces,
    keep_whole,
    missing,
    tell_whole_files,
    torn_files,
    unit_bytes,
    unread_pieces,
)

log = logging.getLogger(__name__)


def make_shards(lineage: Lineage) -> Made:
    """Bring the whole corpus into the store, once; returns the finished stage.

    Raises CorpusError when nothing usable was found, saying what was found.
    """
    config, stage = lineage.config, lineage.shards.folder
    with left_to_make(stage, "jobs.shard") as is_left:
        if is_left:
            _make(lineage, stage)
    _require_text(config, read_card(stage))
    return {"shards": stage}


def _make(lineage: Lineage, stage: StageFolder) -> None:
    config = lineage.config
    if _is_identified(config):
        known_languages()  # a missing extra is found here, not in a worker
    files, survey = list(lineage.corpus.files()), lineage.corpus.survey()
    tell_survey(survey)
    started = time.monotonic()
    read = _read_enough(config, files, stage) if config.corpus.enough_for_budget else _read_all(config, files, stage)
    count = functools.partial(count_duplicates, config, stage)
    card, poor = make_card(stage, read, survey, known_languages() if _is_identified(config) else None, count)
    tell_card(card, poor, f"{stage.uri}/{REJECTS}")
    # Of a part that was read on purpose, all unread files beside it would be most of it; the listing judged them.
    whole = len(read) == len(files) and all(file.why != BEYOND_THE_LIMIT for file in survey.unread)
    refuse_most_lost(_place(config), list(read.values()), survey.unread if whole else (), poor)
    if not card.documents:
        raise CorpusError(
            f"no usable document in {len(read)} files of {_place(config)}"
            f" languages={','.join(config.corpus.languages)}; rejected rows by reason: {card.rejects or 'none'}"
        )
    # Of use to an interrupted pass only; without them the stage is the same however its files were read.
    for folder in (SIGNATURES, PIECES):
        stage.remove(folder)
    counts: JsonObject = {
        "files": len(read),
        "languages": card.languages,
        "documents": sum(card.documents.values()),
        "bytes": sum(card.bytes.values()),
        "rejects": dict(card.rejects),
    }
    lineage.shards.publish(counts, time.monotonic() - started)


def _require_text(config: Config, card: DataCard) -> None:
    """See require_enough_text; a document is the least."""
    wanted = {normalise(code) for code in config.corpus.languages}
    languages = sorted(wanted | set(card.languages))
    least = {"train": 1, "validation": 1}
    require_enough_text(languages, card.documents, "documents", least, config.corpus.validation_fraction)


def _place(config: Config) -> str:
    return f"corpus.source={config.corpus.source}{config.corpus.path and f' corpus.path={config.corpus.path!r}'}"


def _is_identified(config: Config) -> bool:
    return config.corpus.language_identification == "lingua"


def _read_all(config: Config, files: Sequence[SourceFile], stage: StageFolder) -> dict[int, SourceFile]:
    waiting = missing(stage, [sidecar_name(number) for number in range(len(files))])
    if waiting:
        with ray_session(config.cluster):
            log.info("shard: %d source files, %d already done", len(files), len(files) - len(waiting))
            _shard_files(config, files, waiting, stage)
    return dict(enumerate(files))


def _read_enough(config: Config, files: Sequence[SourceFile], stage: StageFolder) -> dict[int, SourceFile]:
    """Read files in rounds until every language has the text that its share of the budget needs; those, by number."""
    needed = needed_text(config, files)
    read: dict[int, dict[str, int]] = {}
    while numbers := next_files(files, needed, read):
        done = set(numbers) - set(missing(stage, [sidecar_name(number) for number in range(len(files))]))
        log.info(
            "shard: %d of %d source files so far, now %d, %d already done", *map(len, (read, files, numbers, done))
        )
        if waiting := [number for number in numbers if number not in done]:
            with ray_session(config.cluster):
                _shard_files(config, files, waiting, stage)
        # From the sidecars, done now or before: so the next round is the same one after a kill.
        for number, sidecar in zip(numbers, each(functools.partial(read_sidecar, stage), numbers), strict=True):
            # Held-out text does not count: the budget is for training.
            read[number] = {
                name.partition("/")[0]: size for name, size in sidecar.bytes.items() if name.endswith("/train")
            }
    log.info("shard: %d of %d source files are enough for the budget", len(read), len(files))
    return {number: files[number] for number in sorted(read)}


def _shard_files(config: Config, files: Sequence[SourceFile], waiting: Sequence[int], stage: StageFolder) -> None:
    settings, fraction = corpus_settings(config), config.corpus.validation_fraction
    least = config.corpus.language_confidence if _is_identified(config) else None
    # First, since it may find a file torn, which find_units then takes as one unit.
    doubles = find_near_duplicates(config, files, stage)
    units = find_units(config, files, waiting, stage)
    tell_whole_files(config, files, waiting, stage)

    def read_one(at: int) -> dict[str, int]:
        unit = units[at]
        corpus = open_corpus(settings)
        rows = screen(corpus.read(unit.file), unit.file.uri, doubles.of(unit.name), least)
        if unit.span is None:
            made = shard_file(rows, unit.file, unit.number, stage, fraction, PART_BYTES)
            # Its sidecar is written, so it is not read again. Files that are downloaded have no spans.
            corpus.release(unit.file)
            return {"documents": sum(made.documents.values()), "bytes": sum(made.bytes.values())}
        piece = write_piece(rows, unit.file, unit.piece(stage), fraction, PART_BYTES)
        return {"documents": piece.documents if piece else 0, "bytes": piece.bytes if piece else 0}

    def known(at: int) -> dict[str, int] | None:
        unit = units[at]
        if unit.span is not None:
            piece = written_piece(unit.piece(stage))
            return {"documents": piece.documents, "bytes": piece.bytes} if piece else None
        if not stage.exists(sidecar_name(unit.number)):
            return None
        done = read_sidecar(stage, unit.number)
        return {"documents": sum(done.documents.values()), "bytes": sum(done.bytes.values())}

    # Pieces of an attempt that was killed are whole if they have their mark, and are not read again.
    whole = [at for at, unit in enumerate(units) if unit.span is None]
    unread = sorted([*whole, *unread_pieces(stage, units)])
    most = config.corpus.task_bytes
    run_part_tasks("shard", "units", read_one, unread, CPUS, unit_bytes(units), most, known=known)
    # This ends: files that are kept whole have no spans, so the second turn finds none torn.
    torn = torn_files(stage, units)
    join_pieces([unit for unit in units if unit.number not in torn], stage, config.corpus.task_bytes)
    for number in torn:
        keep_whole(stage, number)
    if torn:
        _shard_files(config, files, torn, stage)
