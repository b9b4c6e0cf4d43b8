"""Shards to tokens with Ray Data: tasks over shard parts, which are tokenized once whatever the allocation."""

from __future__ import annotations

import functools
import time

from app.artifacts.layout import TOKENIZER, shard_folder
from app.artifacts.lease import left_to_make
from app.artifacts.store import StageFolder
from app.corpora.shards import part_names, read_part
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.pipelines.data_card import part_bytes
from app.pipelines.enough_text import require_enough_text
from app.pipelines.part_tasks import run_part_tasks
from app.tokens.counts import SPLITS, PartCount, counts_from_json, counts_to_json
from app.tokens.packing import token_meta, write_meta, write_token_part, written_token_part
from app.tokens.tokenizer import Tokenizer, load_tokenizer


def make_tokens(lineage: Lineage) -> Made:
    """Tokenize every shard part that is not tokenized yet; returns the finished stage."""
    shards, tokenizer, stage = lineage.shards.finished(), lineage.tokenizer.finished(), lineage.tokens.folder
    with left_to_make(stage, "jobs.tokenize") as is_left:
        if is_left:
            _make(lineage, shards, tokenizer, stage)
    # Only now: the tokens are right, and a run with shorter rows finds them.
    _require_text(lineage, stage)
    return {"tokens": stage}


def _make(lineage: Lineage, shards: StageFolder, tokenizer: StageFolder, stage: StageFolder) -> None:
    started = time.monotonic()
    parts = [
        (lang, split, part)
        for lang in lineage.languages
        for split in SPLITS
        for part in part_names(shards, lang, split)
    ]

    def tokenize_part(number: int) -> dict[str, int]:
        lang, split, part = parts[number]
        target, name = stage.child(shard_folder(lang, split)), part.removesuffix(".parquet")
        if (count := written_token_part(target, name)) is None:
            table = read_part(shards, lang, split, part, ["doc_id", "text", "bytes"])
            count = write_token_part(table, _tokenizer(tokenizer), target, name)
        return {"documents": count.documents, "tokens": count.tokens, "bytes": count.bytes}

    weights = part_bytes(shards, parts)
    with ray_session(lineage.config.cluster):
        most = lineage.config.corpus.task_bytes
        done = run_part_tasks("tokenize", "parts", tokenize_part, range(len(parts)), 1.0, weights, most)
    made = [
        (lang, split, PartCount(part.removesuffix(".parquet"), **done[number]))
        for number, (lang, split, part) in enumerate(parts)
    ]
    write_meta(stage, token_meta(load_tokenizer(str(tokenizer.local(TOKENIZER)))))
    lineage.tokens.publish(counts_to_json(lineage.languages, made), time.monotonic() - started)


def _require_text(lineage: Lineage, stage: StageFolder) -> None:
    """See require_enough_text; a row is the least that can be trained on, and that protocol ``paper`` can score."""
    config, held = lineage.config, counts_from_json(stage.manifest().counts, stage.uri)
    tokens = {shard_folder(lang, split): held.tokens(lang, split) for lang in lineage.languages for split in SPLITS}
    row = config.training.sequence_length
    least = {"train": row, "validation": row if config.evaluation.protocol == "paper" else 1}
    cure = f"lower training.sequence_length ({row})"
    require_enough_text(lineage.languages, tokens, "tokens", least, config.corpus.validation_fraction, cure)


# A worker runs many parts, and loads the tokenizer for the first one only.
@functools.lru_cache(maxsize=1)
def _tokenizer(stage: StageFolder) -> Tokenizer:
    return load_tokenizer(str(stage.local(TOKENIZER)))
