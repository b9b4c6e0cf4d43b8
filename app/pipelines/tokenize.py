"""Shards to tokens with Ray Data: one task per shard part, tokenized once whatever the allocation."""

from __future__ import annotations

import functools
import logging
import time

from app.artifacts.layout import TOKENIZER, shard_folder
from app.artifacts.store import StageFolder
from app.core.records import JsonObject
from app.corpora.shards import part_names, read_part
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.pipelines.part_tasks import run_part_tasks
from app.tokens.dataset import TokenCorpus
from app.tokens.packing import token_meta, write_meta, write_token_part
from app.tokens.tokenizer import Tokenizer, load_tokenizer

log = logging.getLogger(__name__)

_SPLITS = ("train", "validation")


def make_tokens(lineage: Lineage) -> Made:
    """Tokenize every shard part that is not tokenized yet; returns the finished stage."""
    shards, tokenizer, stage = lineage.shards.finished(), lineage.tokenizer.finished(), lineage.tokens.folder
    if stage.is_complete:
        return {"tokens": stage}
    started = time.monotonic()
    parts = [
        (lang, split, part)
        for lang in lineage.languages
        for split in _SPLITS
        for part in part_names(shards, lang, split)
    ]
    waiting = [item for item in parts if not stage.exists(f"{shard_folder(item[0], item[1])}/{item[2]}")]
    log.info("tokenize: %d shard parts, %d already done", len(parts), len(parts) - len(waiting))

    def tokenize_part(number: int) -> dict[str, int]:
        lang, split, part = waiting[number]
        table = read_part(shards, lang, split, part, ["doc_id", "lang", "text", "bytes"])
        tokens = write_token_part(table, _tokenizer(tokenizer), stage.child(shard_folder(lang, split)), part)
        return {"tokens": tokens, "bytes": sum(table["bytes"].to_pylist())}

    with ray_session(lineage.config.cluster):
        run_part_tasks("tokenize", "parts", tokenize_part, range(len(waiting)))
    write_meta(stage, token_meta(load_tokenizer(str(tokenizer.local(TOKENIZER)))))
    counts = _counts(stage, lineage.languages)
    lineage.tokens.publish(counts, time.monotonic() - started)
    return {"tokens": stage}


@functools.lru_cache(maxsize=1)
def _tokenizer(stage: StageFolder) -> Tokenizer:
    return load_tokenizer(str(stage.local(TOKENIZER)))


def _counts(stage: StageFolder, languages: tuple[str, ...]) -> JsonObject:
    """Documents, tokens and bytes per language and split."""
    corpus = TokenCorpus.open(str(stage.local()))
    counts: JsonObject = {}
    for lang in languages:
        for split in _SPLITS:
            table = corpus.documents(lang, split)
            counts[shard_folder(lang, split)] = {
                "documents": len(table),
                "tokens": int(table.length.sum()),
                "bytes": int(table.bytes.sum()),
            }
    return counts
