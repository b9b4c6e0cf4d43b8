"""Scoring documents: which tokens stand in which window, and the log-probability of each token once.

Protocol ``document``: each document alone after the start token, windows of L tokens with stride L/2; a token is
scored in the first window that holds it, so it has at least L/2 tokens of context once the document is that long.
Protocol ``paper``: the documents of a language concatenated and cut into rows of L, each row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.records import IntArray

# What the losses of torch and transformers leave out.
IGNORE = -100

ScoreRows = Callable[[IntArray, IntArray], NDArray[np.float32]]
"""(B, T) rows and (B, T) targets -> (B, T) log p(target[b, t] | rows[b, :t+1]) in nats; targets of -100 are ignored."""


@dataclass(frozen=True)
class Window:
    """Tokens start..stop-1 of document ``document`` (after its start token), of which first..stop-1 are scored."""

    document: int
    start: int
    first: int
    stop: int


def plan_windows(lengths: Sequence[int], sequence_length: int) -> list[Window]:
    """Windows of protocol ``document`` for documents of ``lengths`` tokens (their end token included).

    A window's row holds the token before its first one, so L - 1 targets fit a row of L with the start token.
    """
    size, stride = sequence_length, max(1, sequence_length // 2)
    windows = []
    for document, length in enumerate(lengths):
        first = start = 0
        while first < length:
            stop = min(length, start + size)
            windows.append(Window(document, start, first, stop))
            first, start = stop, start + stride
    return windows


def score_documents(
    score_rows: ScoreRows,
    documents: Sequence[IntArray],
    start_id: int,
    pad_id: int,
    sequence_length: int,
    batch_tokens: int,
) -> list[NDArray[np.float32]]:
    """Log-probability in nats of every token of every document, protocol ``document``.

    documents: token ids with the end token, without the start token. Returns one float32 array per document, of its
    length. Windows of similar length share a batch of at most ``batch_tokens`` tokens.
    """
    out = [np.zeros(len(document), dtype=np.float32) for document in documents]
    # Longest first: rows of a batch are about as long as its first, so there is little padding.
    windows = sorted(
        plan_windows([len(document) for document in documents], sequence_length),
        key=lambda w: w.start - w.stop,
    )
    place = 0
    while place < len(windows):
        width = windows[place].stop - windows[place].start
        batch = windows[place : place + max(1, batch_tokens // width)]
        place += len(batch)
        rows = np.full((len(batch), width), pad_id, dtype=np.int64)
        targets = np.full((len(batch), width), IGNORE, dtype=np.int64)
        for line, window in enumerate(batch):
            ids, size = documents[window.document], window.stop - window.start
            # The token before the window is read but not scored; before the first one that is the start token.
            rows[line, 0] = start_id if window.start == 0 else ids[window.start - 1]
            rows[line, 1:size] = ids[window.start : window.stop - 1]
            targets[line, window.first - window.start : size] = ids[window.first : window.stop]
        scores = score_rows(rows, targets)
        for line, window in enumerate(batch):
            part = slice(window.first - window.start, window.stop - window.start)
            out[window.document][window.first : window.stop] = scores[line, part]
    return out


def pack_rows(documents: Iterable[IntArray], sequence_length: int) -> Iterator[IntArray]:
    """Protocol ``paper``: the concatenation cut into rows of L tokens; the remainder fills no row and is left out."""
    rest = np.zeros(0, dtype=np.int64)
    for document in documents:
        stream = np.concatenate([rest, document])
        whole = len(stream) - len(stream) % sequence_length
        yield from stream[:whole].reshape(-1, sequence_length)
        # Only a piece of a row is kept between documents, so a language of any size streams through.
        rest = stream[whole:]
