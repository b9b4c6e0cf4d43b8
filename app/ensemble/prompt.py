"""How a prompt is read: piece by piece, so that a long one does not hold the others up.

Where the weights depend on scores of the experts, all that may ever have weight score its tokens on the way. Where only
its log-probabilities are asked for, those that have weight do. Else nothing is read before it is needed: an expert
reads the prompt when it first carries weight.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch

from app.core.records import FloatArray
from app.ensemble.client import Feed, Reply
from app.ensemble.mixing import mix_log_probs
from app.ensemble.sequence import Sequence
from app.ensemble.text_output import Step

Program = Generator[list[Feed], list[Reply], None]
"""Asks for passes, and is sent their replies in the same order."""
PIECE = 128
"""Tokens of a prompt that are fed at once: enough for an expert's products to run at full speed."""
_ROWS_AT_ONCE = 1 << 22
"""Probabilities of a prompt held at once, for each expert, where the most probable tokens are wanted: 16 MB."""


def read_prompt(sequence: Sequence) -> Program:
    """Show the weigher the prompt; score it where that is needed. With ``echo``, fills ``prompt_steps``."""
    request, weigher, pieces = sequence.request, sequence.weigher, sequence.pieces
    reported = request.echo and request.logprobs is not None
    if reported or weigher.needs_scores:
        first = Step(sequence.tokens[0], weigher.weights(), piece=pieces[0])
        known = [first]
        yield from _score(sequence, known, reported)
    else:
        # No scores to wait for: the rule takes the whole prompt at once, and no expert runs for it.
        sequence.weigher = request.weigher(sequence.tokens)
        unknown = np.full(len(request.experts), np.nan)
        known = [Step(token, unknown, piece=piece) for token, piece in zip(sequence.tokens, pieces, strict=True)]
    if request.echo:
        sequence.prompt_steps = known[: len(request.prompt)]


def _score(sequence: Sequence, known: list[Step], reported: bool) -> Program:
    """Score all tokens but the first and show them to the weigher one by one."""
    tokens, weigher = sequence.tokens, sequence.weigher
    wanted = sequence.request.logprobs if reported else None
    piece = PIECE if not wanted else min(PIECE, max(8, _ROWS_AT_ONCE // sequence.vocab_size))
    # Without the last token: what follows it is not known, so it is fed with the first cycle.
    for start in range(0, len(tokens) - 1, piece):
        stop = min(start + piece, len(tokens) - 1)
        scores = np.full((stop - start, len(sequence.request.experts)), np.nan)
        if weigher.needs_scores:
            # All that may have weight: a dropped one would read as much when it is looked at again.
            places = np.flatnonzero(weigher.may_run()).tolist()
        else:
            weights = _observed(sequence, start, scores)
            places = np.flatnonzero(weights.any(axis=0)).tolist()
            yield from _read_before(sequence, places, start)
        replies = yield [sequence.feed_piece(p, stop, scored=True, chances=bool(wanted)) for p in places]
        scores[:, places] = np.stack([reply.scores.double().numpy() for reply in replies], axis=1)
        if weigher.needs_scores:
            weights = _observed(sequence, start, scores)
        tops = _most_probable(replies, weights[:, places], wanted) if wanted else [[]] * len(scores)
        mixed = mix_log_probs(scores, weights)
        for i, top in enumerate(tops):
            at = start + i + 1
            known.append(Step(tokens[at], weights[i], float(mixed[i]), top, sequence.pieces[at]))


def _observed(sequence: Sequence, start: int, scores: FloatArray) -> FloatArray:
    """Show the weigher the tokens behind ``start``, one for each row of ``scores``; the weights of each."""
    weights = np.empty_like(scores)
    for i, row in enumerate(scores):
        # Before observe: a token must not take part in its own weights.
        weights[i] = sequence.weigher.weights()
        sequence.weigher.observe(sequence.pieces[start + i + 1], sequence.tokens[start + i + 1], row)
    return weights


def _read_before(sequence: Sequence, places: list[int], stop: int) -> Program:
    """Experts that had no weight so far read the first ``stop`` tokens, piece by piece."""
    rest = len(sequence.tokens) - stop
    while behind := [place for place in places if sequence.unread(place) > rest]:
        read = [len(sequence.tokens) - sequence.unread(place) for place in behind]
        yield [sequence.feed_piece(place, min(stop, at + PIECE)) for place, at in zip(behind, read, strict=True)]


def _most_probable(replies: list[Reply], weights: FloatArray, count: int) -> list[list[tuple[int, float]]]:
    """The mixture's most probable tokens at each place; weights: (places, experts)."""
    chances = torch.zeros_like(replies[0].rows)
    # Probabilities are summed and the best alone get a logarithm: no logsumexp over the vocabulary.
    for reply, column in zip(replies, weights.T, strict=True):
        if column.any():
            chances.addcmul_(reply.rows, torch.from_numpy(column).to(chances)[:, None])
    values, tokens = chances.topk(count)
    return [
        list(zip(ids, found, strict=True)) for ids, found in zip(tokens.tolist(), values.log().tolist(), strict=True)
    ]
