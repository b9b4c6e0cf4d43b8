"""Scoring continuations of contexts, as multiple-choice tasks need it: token ids in, log-probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.errors import ConfigError
from app.core.records import FloatArray, IntArray

NextLogProbs = Callable[[IntArray], FloatArray]
"""(B, T) rows -> (B, T, V) log p(next token | row up to here) in nats; a row's end may be padding."""


@dataclass(frozen=True)
class Scored:
    """log_prob: of the whole continuation, nats. greedy: whether each of its tokens was the most probable one."""

    log_prob: float
    greedy: bool


def score_continuations(
    next_log_probs: NextLogProbs,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    start_id: int,
    pad_id: int,
    window: int,
    batch_tokens: int,
) -> list[Scored]:
    """log p(continuation | context) of each (context, continuation) pair of token ids, without start tokens.

    A text is the start token, the context and the continuation. Where it is longer than the model's ``window`` of T
    tokens, its beginning is left out: each prediction sees the newest tokens that fit. A continuation of more than
    ``window`` tokens is scored in several windows, of which each but the first begins with what the one before ended
    with. At most ``batch_tokens`` tokens stand in a batch. Raises ConfigError for an empty continuation.
    """
    texts = [[start_id, *context, *continuation] for context, continuation in pairs]
    pieces: list[tuple[int, int, int, int]] = []  # pair, begin and end of the row, first position that predicts for it
    for number, (_, continuation) in enumerate(pairs):
        if not continuation:
            raise ConfigError(f"continuation {number} is empty; give at least one token")
        first, end = len(texts[number]) - len(continuation), len(texts[number])
        # A row holds what is read and not its last target, which is only predicted: it ends one before ``stop``.
        while first < end:
            stop = min(end, first + window)
            pieces.append((number, max(0, stop - 1 - window), stop - 1, first - 1))
            first = stop
    # Longest first: rows of a batch are about as long as its first, so there is little padding.
    pieces.sort(key=lambda piece: piece[1] - piece[2])
    log_probs, greedy = [0.0] * len(pairs), [True] * len(pairs)
    place = 0
    while place < len(pieces):
        width = pieces[place][2] - pieces[place][1]
        batch = pieces[place : place + max(1, batch_tokens // width)]
        place += len(batch)
        # Padded at the end, which earlier positions of a causal model do not see.
        rows = np.full((len(batch), width), pad_id, dtype=np.int64)
        for line, (number, begin, end, _) in enumerate(batch):
            rows[line, : end - begin] = texts[number][begin:end]
        found = next_log_probs(rows)
        for line, (number, begin, end, first) in enumerate(batch):
            table = found[line, first - begin : end - begin]
            targets = np.asarray(texts[number][first + 1 : end + 1])
            log_probs[number] += float(table[np.arange(len(targets)), targets].sum())
            # A continuation may come in several pieces, and each must be greedy.
            greedy[number] &= bool((table.argmax(axis=-1) == targets).all())
    return [Scored(value, flag) for value, flag in zip(log_probs, greedy, strict=True)]
