"""Corpus to shards with Ray Data: one task per source file, progress by sidecar, rerun skips what is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from app.artifacts.layout import DATA_CARD, SIGNATURES, sidecar_name, signatures_name
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.errors import CorpusError
from app.core.records import IntArray, JsonObject
from app.corpora.base import SourceFile
from app.corpora.identify import known_languages
from app.corpora.near_duplicates import mark_near_duplicates, sign_documents
from app.corpora.screening import screen
from app.corpora.shards import part_names, read_part, shard_file
from app.corpora.sources import open_corpus
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import corpus_settings
from app.pipelines.part_tasks import run_part_tasks

log = logging.getLogger(__name__)

_PART_BYTES = 64 << 20
_CPUS = 0.5
"""Of a task: half of its time it waits for the disk or the network."""


def make_shards(lineage: Lineage) -> Made:
    """Bring the whole corpus into the store, once; returns the finished stage.

    Raises CorpusError when nothing usable was found, saying what was found.
    """
    config, stage = lineage.config, lineage.shards.folder
    if stage.is_complete:
        return {"shards": stage}
    if config.corpus.language_identification == "lingua":
        known_languages()  # a missing extra is found here, not in a worker
    files = list(lineage.corpus.files())
    started = time.monotonic()
    waiting = _missing(stage, [sidecar_name(number) for number in range(len(files))])
    if waiting:
        with ray_session(config.cluster):
            doubles = _find_near_duplicates(config, files, stage)
            log.info("shard: %d source files, %d already done", len(files), len(files) - len(waiting))
            _shard_files(config, files, waiting, doubles, stage)
    counts = _summary(config, stage, files)
    if not counts["documents"]:
        raise CorpusError(
            f"no usable document in {len(files)} files of corpus.source={config.corpus.source}"
            f" path={config.corpus.path!r} languages={','.join(config.corpus.languages)};"
            f" rejected rows by reason: {counts['rejects'] or 'none'}"
        )
    stage.remove(SIGNATURES)
    lineage.shards.publish(counts, time.monotonic() - started)
    return {"shards": stage}


def _missing(stage: StageFolder, names: Sequence[str]) -> list[int]:
    """Numbers of the files, one of each source file, that are not there yet."""
    done = set(stage.names(names[0].rpartition("/")[0])) if names else set()
    return [number for number, name in enumerate(names) if name.rpartition("/")[2] not in done]


def _find_near_duplicates(config: Config, files: Sequence[SourceFile], stage: StageFolder) -> Mapping[int, IntArray]:
    """For each source file the numbers of the documents to drop; the signatures of files already read are used again.

    All files are compared, those that are sharded already too, so that a rerun drops the same documents.
    """
    if config.corpus.near_duplicates == "off":
        return {}
    settings, threshold = corpus_settings(config), config.corpus.near_duplicate_threshold

    def sign_one(number: int) -> dict[str, int]:
        table = sign_documents(open_corpus(settings).read(files[number]), threshold)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        stage.write(signatures_name(number), sink.getvalue().to_pybytes())
        return {"documents": table.num_rows, "bytes": table.nbytes}

    def read(number: int, columns: list[str]) -> pa.Table:
        return pq.read_table(pa.BufferReader(stage.read(signatures_name(number))), columns=columns)

    unsigned = _missing(stage, [signatures_name(number) for number in range(len(files))])
    run_part_tasks("near-duplicates", "files", sign_one, unsigned, _CPUS, _weights(files))
    return dict(enumerate(mark_near_duplicates(read, len(files), threshold)))


def _shard_files(
    config: Config,
    files: Sequence[SourceFile],
    waiting: Sequence[int],
    doubles: Mapping[int, IntArray],
    stage: StageFolder,
) -> None:
    settings, fraction = corpus_settings(config), config.corpus.validation_fraction
    least = config.corpus.language_confidence if config.corpus.language_identification == "lingua" else None
    dropped = ray.put(doubles)

    def shard_one(number: int) -> dict[str, int]:
        mine = frozenset(ray.get(dropped).get(number, np.empty(0, np.int64)).tolist())
        rows = screen(open_corpus(settings).read(files[number]), files[number].uri, mine, least)
        counts = shard_file(rows, files[number], number, stage, fraction, _PART_BYTES)
        documents, sizes = counts["documents"], counts["bytes"]
        assert isinstance(documents, dict) and isinstance(sizes, dict)
        return {"documents": sum(documents.values()), "bytes": sum(sizes.values())}

    run_part_tasks("shard", "files", shard_one, waiting, _CPUS, _weights(files))


def _weights(files: Sequence[SourceFile]) -> dict[int, float]:
    return {number: float(file.size_bytes or 1) for number, file in enumerate(files)}


def _summary(config: Config, stage: StageFolder, files: Sequence[SourceFile]) -> JsonObject:
    """Add up the sidecars; write the data card's first half; the counts of the manifest."""
    totals: dict[str, dict[str, int]] = {"documents": {}, "bytes": {}, "rejects": {}}
    rejects_by_language: dict[str, dict[str, int]] = {}
    for number, file in enumerate(files):
        sidecar = stage.read_json(sidecar_name(number))
        for kind, total in totals.items():
            part = sidecar[kind]
            assert isinstance(part, dict)
            for name, count in part.items():
                total[name] = total.get(name, 0) + int(str(count))
                if kind == "rejects":
                    row = rejects_by_language.setdefault(file.lang or "unknown", {})
                    row[name] = row.get(name, 0) + int(str(count))
    languages = sorted({name.partition("/")[0] for name in totals["documents"]})
    duplicates = {lang: _count_duplicates(stage, lang) for lang in languages}
    card: JsonObject = {
        **{kind: dict(sorted(total.items())) for kind, total in totals.items()},
        "rejects_by_language": rejects_by_language,
        "duplicates": duplicates,
    }
    if config.corpus.language_identification == "lingua":
        card["languages_not_identified"] = [lang for lang in languages if lang not in known_languages()]
    stage.write_json(DATA_CARD, card)
    return {
        "files": len(files),
        "languages": languages,
        "documents": sum(totals["documents"].values()),
        "bytes": sum(totals["bytes"].values()),
        "rejects": totals["rejects"],
    }


def _count_duplicates(stage: StageFolder, lang: str) -> int:
    """Training documents whose text stood before already; 8 bytes of memory per document."""
    digests = [
        np.frombuffer(bytes.fromhex("".join(doc_ids)), dtype=">u8")
        for part in part_names(stage, lang, "train")
        if (doc_ids := read_part(stage, lang, "train", part, ["doc_id"])["doc_id"].to_pylist())
    ]
    if not digests:
        return 0
    everything = np.concatenate(digests)
    return int(everything.size - np.unique(everything).size)
