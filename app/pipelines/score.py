"""Validation text through each model, once: log-probabilities per token, shared by every ensemble it is part of."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Protocol, TypeAlias

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from app.artifacts.counts import ScoresCounts
from app.artifacts.layout import FINAL_MODEL, TOKENIZER, scores_index_name
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.errors import CorpusError
from app.core.records import IntArray
from app.core.units import format_count, format_seconds
from app.evaluation.perplexity import IGNORE, ScoreRows, pack_rows, score_documents
from app.evaluation.scores import BLOCK_TOKENS, ScoredDocuments, read_blocks, save_block, scored_documents
from app.evaluation.totals import Totals
from app.fleet.ray_session import ray_session
from app.lineage.inputs import PlannedStage
from app.models.load import load_model
from app.models.loss import token_log_probs
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import Tokenizer, load_tokenizer
from app.training.loop import autocast, choose_device

log = logging.getLogger(__name__)

Block: TypeAlias = tuple[ScoredDocuments, list[IntArray]]
"""Documents and the token ids of each."""
_Row: TypeAlias = tuple[str, str, IntArray, int]

ANYWHERE = "DEFAULT"
"""Said aloud, since a trial of Ray Tune would keep the tasks it starts in its own tenth of a core."""


class Scorable(Protocol):
    """A text to score models on: that of a run (``Lineage``), or another in its tokenizer."""

    @property
    def config(self) -> Config:
        """How to score."""

    @property
    def tokens(self) -> PlannedStage:
        """The text."""

    @property
    def tokenizer(self) -> PlannedStage:
        """Its tokenizer."""

    def scores(self, model_key: str) -> PlannedStage:
        """Where the log-probabilities of one model are or will be."""


def score_models(text: Scorable, models: Mapping[str, StageFolder]) -> dict[str, StageFolder]:
    """Score every model that has no scores yet; returns name -> finished ``scores`` stage."""
    config, tokens, tokenizer = text.config, text.tokens.finished(), text.tokenizer.finished()
    stages = {name: text.scores(model.key) for name, model in models.items()}
    # By key: a model that goes by two names is scored once.
    waiting = {stage.key: name for name, stage in stages.items() if not stage.is_complete}
    if waiting:
        with ray_session(config.cluster):
            gpus = config.training.gpus_per_expert
            task = ray.remote(_score_one).options(num_cpus=1, num_gpus=gpus, scheduling_strategy=ANYWHERE)
            pending = {
                task.remote(config, tokens, tokenizer, models[name], stages[name]): name for name in waiting.values()
            }
            log.info("evaluate: scoring held-out text with %s", ", ".join(waiting.values()))
            while pending:
                # As they end, not in order: so the log shows progress, and an error is raised at once.
                (done,), _ = ray.wait(list(pending), num_returns=1)
                seconds, count = ray.get(done)
                speed = format_count(count / max(seconds, 1e-9))
                name, number = pending.pop(done), len(waiting) - len(pending)
                took = format_seconds(seconds)
                log.info("evaluate: %d of %d, %s: %s (%s tokens/s)", number, len(waiting), name, took, speed)
    return {name: stage.folder for name, stage in stages.items()}


def _score_one(
    config: Config, tokens: StageFolder, tokenizer: StageFolder, model: StageFolder, stage: PlannedStage
) -> tuple[float, int]:
    started = time.monotonic()
    torch.set_num_threads(1)
    corpus = TokenCorpus.open(tokens)
    blocks = validation_blocks(config, corpus, load_tokenizer(str(tokenizer.local(TOKENIZER))))
    counts, scored = score_blocks(config, corpus, blocks, model_scorer(config, model), stage.folder)
    seconds = time.monotonic() - started
    # In the task: what is scored stays scored if another model's task fails.
    stage.publish(asdict(replace(counts, last_tokens=scored)), seconds)
    return seconds, scored


def score_blocks(
    config: Config, corpus: TokenCorpus, blocks: Iterable[Block], score: ScoreRows, folder: StageFolder
) -> tuple[ScoresCounts, int]:
    """Score the blocks that are not scored yet; returns what all hold, and the tokens scored now."""
    documents = tokens = scored = number = 0
    # Counted from 1, so that afterwards it is the number of blocks; their files count from 0.
    for number, (block, ids) in enumerate(blocks, 1):
        if not folder.exists(scores_index_name(number - 1)):
            length, batch = config.training.sequence_length, config.evaluation.batch_tokens
            values = score_documents(score, ids, corpus.start_id, corpus.pad_id, length, batch)
            save_block(folder, number - 1, block, np.concatenate(values))
            scored += block.num_tokens
        documents, tokens = documents + len(block), tokens + block.num_tokens
    return ScoresCounts(tokens, documents, number), scored


def validation_blocks(
    config: Config, corpus: TokenCorpus, tokenizer: Tokenizer, block_tokens: int = BLOCK_TOKENS
) -> Iterator[Block]:
    """The documents to score, with their end token, cut at the configured length; languages in sorted order.

    Under protocol ``paper`` a "document" is a packed row. A block closes with the document that brings it to
    ``block_tokens``.
    """
    rows: list[_Row] = []
    tokens, seen = 0, set()
    for row in _validation_rows(config, corpus, tokenizer):
        rows.append(row)
        seen.add(row[1])
        tokens += len(row[2])
        if tokens >= block_tokens:
            yield _block(rows)
            rows, tokens = [], 0
    if rows:
        yield _block(rows)
    if not seen:
        raise CorpusError(
            f"no validation text in {', '.join(corpus.languages())}; raise corpus.validation_fraction or bring a"
            " validation split"
        )
    if silent := sorted(set(corpus.languages()) - seen):
        log.warning("no held-out text to score in %s: these languages are in no table", ", ".join(silent))


def _validation_rows(config: Config, corpus: TokenCorpus, tokenizer: Tokenizer) -> Iterator[_Row]:
    evaluation = config.evaluation
    for lang in corpus.languages():
        found = islice(corpus.documents(lang, "validation"), evaluation.max_documents_per_language)
        if evaluation.protocol == "paper":
            whole = (_without_start(corpus, document.ids) for document in found)
            for number, ids in enumerate(pack_rows(whole, config.training.sequence_length)):
                yield f"{lang}-row-{number}", lang, ids, _text_bytes(tokenizer, ids)
            continue
        for document in found:
            ids = _without_start(corpus, document.ids)
            cut = ids[: evaluation.max_tokens_per_document]
            # The index knows the bytes of a whole document; those of a cut one can only be had by decoding.
            size = document.bytes if len(cut) == len(ids) else _text_bytes(tokenizer, cut)
            yield document.doc_id, lang, cut, size


def _block(rows: Sequence[_Row]) -> Block:
    doc_ids, langs, ids, sizes = (list(column) for column in zip(*rows, strict=True))
    return scored_documents(doc_ids, langs, [len(each) for each in ids], sizes), ids


def nats_per_token(scores: Mapping[str, StageFolder]) -> dict[str, dict[str, float]]:
    """Model -> language -> mean nats per token. scores: finished stages by model."""
    totals = Totals()
    for block in read_blocks(scores):
        nats = {name: values.astype(np.float64) for name, values in block.log_probs.items()}
        totals.add_tokens(block.documents, nats)
    return {
        name: {lang: found.nats_per_token for lang, found in by_language.items()}
        for name, by_language in totals.by_system().items()
    }


def model_scorer(config: Config, model: StageFolder) -> ScoreRows:
    """The scoring function of a finished model, on the GPU where there is one."""
    device = choose_device("auto")
    with model.at_hand(FINAL_MODEL) as folder:
        network = load_model(str(folder)).to(device).eval()
    precision = autocast(config.training.precision, device)
    chunk = config.training.loss_chunk_tokens
    assert IGNORE == -100, "the loss ignores the same target"

    def score(rows: IntArray, targets: IntArray) -> NDArray[np.float32]:
        with precision():
            out = token_log_probs(
                network, torch.from_numpy(rows).to(device), torch.from_numpy(targets).to(device), chunk
            )
        values: NDArray[np.float32] = out.float().cpu().numpy()
        return values

    return score


def _without_start(corpus: TokenCorpus, ids: IntArray) -> IntArray:
    # Where start and end are one token, documents are stored without a start token.
    return ids if corpus.start_id == corpus.end_id else ids[1:]


def _text_bytes(tokenizer: Tokenizer, ids: IntArray) -> int:
    # A packed row may decode to nothing, and bits per byte divide by this.
    return max(1, len(tokenizer.decode(ids.tolist()).encode()))
