"""Corpus to shards with Ray Data: one task per source file, progress by sidecar, rerun skips what is done."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import ray.data

from app.artifacts.layout import DATA_CARD, SIDECARS, sidecar_name
from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import CorpusError
from app.core.records import JsonObject
from app.core.units import format_bytes, format_count, format_seconds
from app.corpora.base import SourceFile
from app.corpora.shards import part_names, read_part, shard_file
from app.corpora.sources import open_corpus
from app.pipelines.keys import shards_inputs
from app.pipelines.ray_session import ray_session
from app.pipelines.runs import Made
from app.pipelines.settings import corpus_settings

log = logging.getLogger(__name__)

_PART_BYTES = 64 << 20


def make_shards(config: Config, store: Store) -> Made:
    """Bring the whole corpus into the store, once; returns the finished stage.

    Raises CorpusError when nothing usable was found, saying what was found.
    """
    corpus = open_corpus(corpus_settings(config))
    inputs = shards_inputs(config, corpus)
    stage = store.stage("shards", inputs.key)
    if stage.is_complete:
        return {"shards": stage}
    files = list(corpus.files())
    done = set(stage.names(SIDECARS))
    waiting = [number for number in range(len(files)) if sidecar_name(number).rpartition("/")[2] not in done]
    log.info("shard: %d source files, %d already done", len(files), len(files) - len(waiting))
    started = time.monotonic()
    with ray_session(config.cluster):
        _run_tasks(config, files, waiting, stage)
    counts = _summary(stage, files)
    if not counts["documents"]:
        raise CorpusError(
            f"no usable document in {len(files)} files of corpus.source={config.corpus.source}"
            f" path={config.corpus.path!r} languages={','.join(config.corpus.languages)};"
            f" rejected rows by reason: {counts['rejects'] or 'none'}"
        )
    manifest = Manifest("shards", inputs.key, inputs.fields, {}, counts, time.monotonic() - started)
    stage.publish(manifest)
    return {"shards": stage}


def _run_tasks(config: Config, files: list[SourceFile], waiting: list[int], stage: StageFolder) -> None:
    if not waiting:
        return
    settings = corpus_settings(config)
    fraction = config.corpus.validation_fraction

    def shard_one(row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["item"])
        counts = shard_file(open_corpus(settings), files[number], number, stage, fraction, _PART_BYTES)
        documents, sizes = counts["documents"], counts["bytes"]
        assert isinstance(documents, dict) and isinstance(sizes, dict)
        return {"documents": sum(documents.values()), "bytes": sum(sizes.values())}

    tasks = ray.data.from_items(waiting, override_num_blocks=len(waiting)).map(shard_one, num_cpus=0.5)
    started, last = time.monotonic(), 0.0
    documents = size = finished = 0
    for row in tasks.iter_rows():
        documents, size, finished = documents + row["documents"], size + row["bytes"], finished + 1
        seconds = time.monotonic() - started
        if seconds - last > 5 or finished == len(waiting):
            last = seconds
            log.info(
                "shard: %d/%d files, %s documents, %s in %s (%.0f documents/s, %.2f MB/s)",
                *(finished, len(waiting), format_count(documents), format_bytes(size), format_seconds(seconds)),
                *(documents / seconds, size / seconds / 1e6),
            )


def _summary(stage: StageFolder, files: list[SourceFile]) -> JsonObject:
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
