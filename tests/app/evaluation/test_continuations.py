from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from app.core.errors import ConfigError
from app.core.records import FloatArray, IntArray
from app.evaluation.continuations import score_continuations
from tests.support.tiny_models import tiny_model

MODEL = tiny_model(seed=1).eval()
WINDOW = 12
RNG = np.random.default_rng(0)
START, PAD = 0, 1
PAIRS = [
    (RNG.integers(2, 20, size=before).tolist(), RNG.integers(2, 20, size=after).tolist())
    for before, after in ((0, 1), (0, 5), (3, 2), (14, 1), (15, 1), (16, 3), (40, 4), (2, 30), (30, 33), (7, 9))
]


@torch.no_grad()
def next_log_probs(rows: IntArray) -> FloatArray:
    """The model's full softmax."""
    found: FloatArray = MODEL.logits(torch.from_numpy(rows)).double().log_softmax(-1).numpy()
    return found


def brute_force(context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """One text at a time, a full softmax for each window written out by hand."""
    text = [START, *context, *continuation]
    total, greedy, scored = 0.0, True, len(text) - len(continuation)
    while scored < len(text):
        stop = min(len(text), scored + WINDOW)
        seen = text[max(0, stop - 1 - WINDOW) : stop - 1]
        table = next_log_probs(np.array([seen]))[0]
        for place in range(scored, stop):
            row = table[place - 1 - (stop - 1 - len(seen))]
            total += float(row[text[place]])
            greedy &= int(row.argmax()) == text[place]
        scored = stop
    return total, greedy


@pytest.mark.parametrize("batch_tokens", [1, 40, 1000])
def test_continuations_have_the_log_probability_of_a_full_softmax(batch_tokens: int) -> None:
    found = score_continuations(next_log_probs, PAIRS, START, PAD, WINDOW, batch_tokens)
    for (context, continuation), scored in zip(PAIRS, found, strict=True):
        log_prob, greedy = brute_force(context, continuation)
        assert scored.log_prob == pytest.approx(log_prob, abs=1e-4) and scored.greedy == greedy


def test_a_context_longer_than_the_window_keeps_its_newest_tokens() -> None:
    context, continuation = PAIRS[6]
    (found,) = score_continuations(next_log_probs, [(context, continuation)], START, PAD, WINDOW, 100)
    kept = [*context, *continuation][-WINDOW - 1 :]
    table = next_log_probs(np.array([kept[:-1]]))[0]
    expected = sum(table[WINDOW - 4 + i, token] for i, token in enumerate(continuation))
    assert found.log_prob == pytest.approx(expected, abs=1e-4)


def test_a_greedy_continuation_is_found_greedy_and_any_other_is_not() -> None:
    context, made = [5, 9, 3], list[int]()
    for _ in range(4):
        made.append(int(next_log_probs(np.array([[START, *context, *made]]))[0, -1].argmax()))
    other = [*made[:-1], (made[-1] + 1) % 20]
    greedy, wrong = score_continuations(next_log_probs, [(context, made), (context, other)], START, PAD, WINDOW, 100)
    assert greedy.greedy and not wrong.greedy and greedy.log_prob > wrong.log_prob


def test_the_probabilities_of_all_single_tokens_add_up_to_one() -> None:
    pairs = [([4, 7], [token]) for token in range(next_log_probs(np.array([[0]])).shape[-1])]
    found = score_continuations(next_log_probs, pairs, START, PAD, WINDOW, 200)
    assert sum(math.exp(scored.log_prob) for scored in found) == pytest.approx(1.0, abs=1e-5)


def test_an_empty_continuation_is_refused() -> None:
    with pytest.raises(ConfigError, match="continuation 0 is empty"):
        score_continuations(next_log_probs, [([1], [])], START, PAD, WINDOW, 10)
