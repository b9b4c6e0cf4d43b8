"""Corpus to shards with Ray Data: tasks over source files and spans of them; a rerun skips what is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from app.artifacts.layout import PIECES, REJECTS, SIGNATURES, sidecar_name, signatures_name
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.errors import CorpusError
from app.core.languages import normalise
from app.core.records import Document, IntArray, JsonObject
from app.corpora.base import Reject, SourceFile
from app.corpora.enough import needed_bytes, next_files
from app.corpora.identify import known_languages
from app.corpora.losses import refuse_most_lost
from app.corpora.near_duplicates import mark_near_duplicates, sign_documents
from app.corpora.pieces import PIECE, write_piece
from app.corpora.screening import screen
from app.corpora.shards import read_sidecar, shard_file
from app.corpora.sources import open_corpus
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import corpus_settings, language_quality
from app.pipelines.data_card import DataCard, make_card, read_card, tell_card, tell_survey
from app.pipelines.enough_text import require_enough_text
from app.pipelines.part_tasks import run_part_tasks
from app.pipelines.units import (
    CPUS,
    PART_BYTES,
    Unit,
    find_units,
    join_pieces,
    keep_whole,
    torn_files,
    unit_bytes,
)

log = logging.getLogger(__name__)


def make_shards(lineage: Lineage) -> Made:
    """Bring the whole corpus into the store, once; returns the finished stage.

    Raises CorpusError when nothing usable was found, saying what was found.
    """
    config, stage = lineage.config, lineage.shards.folder
    if stage.is_complete:
        _require_text(config, read_card(stage))
        return {"shards": stage}
    if _is_identified(config):
        known_languages()  # a missing extra is found here, not in a worker
    files, survey = list(lineage.corpus.files()), lineage.corpus.survey()
    tell_survey(survey)
    started = time.monotonic()
    read = _read_enough(config, files, stage) if config.corpus.enough_for_budget else _read_all(config, files, stage)
    card = make_card(stage, read, survey, known_languages() if _is_identified(config) else None)
    tell_card(card, f"{stage.uri}/{REJECTS}")
    refuse_most_lost(_place(config), list(read.values()), survey, card.poor_files)
    if not card.documents:
        raise CorpusError(
            f"no usable document in {len(read)} files of {_place(config)}"
            f" languages={','.join(config.corpus.languages)}; rejected rows by reason: {card.rejects or 'none'}"
        )
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
    _require_text(config, card)
    return {"shards": stage}


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
    waiting = _missing(stage, [sidecar_name(number) for number in range(len(files))])
    if waiting:
        with ray_session(config.cluster):
            doubles = _find_near_duplicates(config, files, stage)
            log.info("shard: %d source files, %d already done", len(files), len(files) - len(waiting))
            _shard_files(config, files, waiting, doubles, stage)
    return dict(enumerate(files))


def _read_enough(config: Config, files: Sequence[SourceFile], stage: StageFolder) -> dict[int, SourceFile]:
    """Read files in rounds until every language has the text that its share of the budget needs; those, by number."""
    factors, corpus = language_quality(config), config.corpus
    languages = {normalise(code) for code in corpus.languages} | {file.lang for file in files if file.lang}
    weights = {lang: factors.get(lang, 1.0) for lang in sorted(languages)} or {"": 1.0}
    per_token = config.planning.text_bytes_per_token
    needed = needed_bytes(weights, config.training.budget_tokens, corpus.mixture_max_epochs, per_token)
    read: dict[int, dict[str, int]] = {}
    while numbers := next_files(files, needed, read):
        done = set(numbers) - set(_missing(stage, [sidecar_name(number) for number in range(len(files))]))
        log.info(
            "shard: %d of %d source files so far, now %d, %d already done", *map(len, (read, files, numbers, done))
        )
        if waiting := [number for number in numbers if number not in done]:
            with ray_session(config.cluster):
                _shard_files(config, files, waiting, {}, stage)
        for number in numbers:
            sizes = read_sidecar(stage, number).bytes
            read[number] = {name.partition("/")[0]: size for name, size in sizes.items() if name.endswith("/train")}
    log.info("shard: %d of %d source files are enough for the budget", len(read), len(files))
    return {number: files[number] for number in sorted(read)}


def _missing(stage: StageFolder, names: Sequence[str]) -> list[int]:
    """Numbers of the files, one of each source file, that are not there yet."""
    done = set(stage.names(names[0].rpartition("/")[0])) if names else set()
    return [number for number, name in enumerate(names) if name.rpartition("/")[2] not in done]


def _find_near_duplicates(config: Config, files: Sequence[SourceFile], stage: StageFolder) -> Mapping[str, IntArray]:
    """For each unit, by name, the numbers of the documents to drop; signatures that are there are used again.

    All files are compared, those that are sharded already too, so that a rerun drops the same documents.
    """
    if config.corpus.near_duplicates == "off":
        return {}
    threshold = config.corpus.near_duplicate_threshold
    units = _signed(config, files, stage)

    def read(at: int, columns: list[str]) -> pa.Table:
        return pq.read_table(pa.BufferReader(stage.read(signatures_name(units[at].name))), columns=columns)

    found = mark_near_duplicates(read, len(units), threshold)
    return {unit.name: numbers for unit, numbers in zip(units, found, strict=True)}


def _signed(config: Config, files: Sequence[SourceFile], stage: StageFolder) -> list[Unit]:
    """All units, whose signatures are there now."""
    settings, threshold = corpus_settings(config), config.corpus.near_duplicate_threshold
    units = find_units(config, files, range(len(files)), stage)

    def sign_one(at: int) -> dict[str, int]:
        unit, torn = units[at], list[Reject]()

        def rows() -> Iterator[Document | Reject]:
            for row in open_corpus(settings).read(unit.file):
                if isinstance(row, Reject) and row.reason == "corrupt_stream":
                    torn.append(row)
                yield row

        table = sign_documents(rows(), threshold)
        if unit.span is None or not torn:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd")
            stage.write(signatures_name(unit.name), sink.getvalue().to_pybytes())
        return {"documents": table.num_rows, "bytes": table.nbytes}

    unsigned = _missing(stage, [signatures_name(unit.name) for unit in units])
    run_part_tasks("near-duplicates", "units", sign_one, unsigned, CPUS, unit_bytes(units), config.corpus.task_bytes)
    torn = {units[at].number for at in _missing(stage, [signatures_name(unit.name) for unit in units])}
    for number in torn:
        keep_whole(stage, number)
    return _signed(config, files, stage) if torn else units


def _shard_files(
    config: Config,
    files: Sequence[SourceFile],
    waiting: Sequence[int],
    doubles: Mapping[str, IntArray],
    stage: StageFolder,
) -> None:
    settings, fraction = corpus_settings(config), config.corpus.validation_fraction
    least = config.corpus.language_confidence if _is_identified(config) else None
    units, dropped = find_units(config, files, waiting, stage), ray.put(doubles)

    def read_one(at: int) -> dict[str, int]:
        unit = units[at]
        mine = frozenset(ray.get(dropped).get(unit.name, np.empty(0, np.int64)).tolist())
        rows = screen(open_corpus(settings).read(unit.file), unit.file.uri, mine, least)
        if unit.span is None:
            made = shard_file(rows, unit.file, unit.number, stage, fraction, PART_BYTES)
            return {"documents": sum(made.documents.values()), "bytes": sum(made.bytes.values())}
        piece = write_piece(rows, unit.file, unit.piece(stage), fraction, PART_BYTES)
        return {"documents": piece.documents if piece else 0, "bytes": piece.bytes if piece else 0}

    missing = [at for at, unit in enumerate(units) if unit.span is None or not unit.piece(stage).exists(PIECE)]
    run_part_tasks("shard", "units", read_one, missing, CPUS, unit_bytes(units), config.corpus.task_bytes)
    torn = torn_files(stage, units)
    join_pieces([unit for unit in units if unit.number not in torn], stage)
    for number in torn:
        keep_whole(stage, number)
    if torn:
        _shard_files(config, files, torn, doubles, stage)
