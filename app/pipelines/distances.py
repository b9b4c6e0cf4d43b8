"""Distances of held-out text to each expert: what weights by distance are evaluated with, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import ray

from app.allocation.base import Allocator
from app.allocation.prefixes import prefix_distances
from app.allocation.storage import load_allocator
from app.artifacts.layout import ALLOCATOR, TOKENIZER
from app.artifacts.store import StageFolder
from app.core.records import FloatArray, IntArray
from app.evaluation.scores import ScoredBlock
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.pipelines.score import ANYWHERE, validation_blocks
from app.tokens.tokenizer import load_tokenizer


def with_distances(
    lineage: Lineage, allocator: Allocator, blocks: Iterable[ScoredBlock]
) -> Iterator[tuple[ScoredBlock, FloatArray]]:
    """Each block with (tokens, k): row t is the distance of the text before token t to each expert."""
    if allocator.unit == "language":
        for block in blocks:
            rows = np.stack([allocator.context(lang).distances() for lang in block.documents.langs])
            yield block, np.repeat(rows, block.documents.length, axis=0)
        return
    tokenizer, allocation = lineage.tokenizer.finished(), lineage.allocation.finished()
    pieces = load_tokenizer(str(tokenizer.local(TOKENIZER)))
    with ray_session(lineage.config.cluster):
        task = ray.remote(_context_distances).options(num_cpus=1, scheduling_strategy=ANYWHERE)
        # Scores keep no token ids: the blocks are cut again from the tokens, with the borders they were scored in.
        texts = validation_blocks(lineage.config, lineage.token_corpus, pieces)
        for block, (_, ids) in zip(blocks, texts, strict=True):
            # Some 32 tasks a block: each loads allocator and tokenizer, so not one for every document.
            size = max(1, len(ids) // 32)
            parts = [task.remote(allocation, tokenizer, ids[at : at + size]) for at in range(0, len(ids), size)]
            yield block, np.concatenate(ray.get(parts))


def _context_distances(allocation: StageFolder, tokenizer_stage: StageFolder, ids: list[IntArray]) -> FloatArray:
    allocator = load_allocator(allocation.child(ALLOCATOR).read)
    tokenizer = load_tokenizer(str(tokenizer_stage.local(TOKENIZER)))
    # Without the last row, which is that of the whole document: no token follows it.
    rows = [prefix_distances(allocator, None, document, tokenizer.pieces)[:-1] for document in ids]
    return np.concatenate(rows)
