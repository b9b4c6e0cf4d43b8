from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.records import IntArray
from app.evaluation.perplexity import IGNORE, ScoreRows, pack_rows, plan_windows, score_documents
from app.models.architecture import ModelShape
from app.models.loss import token_log_probs
from app.models.registry import build_model

START, PAD = 900, 901
SHAPE = ModelShape("xglm", vocab_size=50, d_model=16, layers=2, heads=2, ffn=32, context=16)


def score_of(context: tuple[int, ...], target: int) -> float:
    """A stand-in for log p(target | context) that depends on every token of the context."""
    return -int.from_bytes(hashlib.sha256(repr((context, target)).encode()).digest()[:3], "big") / 2**20


def fake_scorer(rows: IntArray, targets: IntArray) -> NDArray[np.float32]:
    out = np.full(rows.shape, np.nan, dtype=np.float32)
    for (b, t), target in np.ndenumerate(targets):
        if target != IGNORE:
            out[b, t] = score_of(tuple(rows[b, : t + 1].tolist()), int(target))
    return out


def by_definition(document: list[int], length: int) -> list[float]:
    """Token t is scored in the first window of L tokens, starting every L/2, that holds it; nothing before it is seen
    but the one token in front of the window (the start token for the first)."""
    scores = []
    for t, target in enumerate(document):
        start = next(w for w in range(0, len(document), max(1, length // 2)) if w <= t < w + length)
        front = START if start == 0 else document[start - 1]
        scores.append(score_of((front, *document[start:t]), target))
    return scores


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 12), st.integers(1, 60))
@settings(max_examples=120, deadline=None)
def test_every_token_is_scored_once_in_its_context(sizes: list[int], length: int, batch_tokens: int) -> None:
    documents = [np.arange(size, dtype=np.int64) + 41 * i for i, size in enumerate(sizes)]
    scores = score_documents(fake_scorer, documents, START, PAD, length, batch_tokens)
    for document, values in zip(documents, scores, strict=True):
        assert values.tolist() == pytest.approx(by_definition(document.tolist(), length))


@given(st.lists(st.integers(0, 50), max_size=5), st.integers(1, 12))
def test_windows_cover_each_token_once_with_half_a_row_of_context(lengths: list[int], size: int) -> None:
    seen = [[0] * length for length in lengths]
    for window in plan_windows(lengths, size):
        assert window.start <= window.first < window.stop <= window.start + size
        assert window.start == 0 or window.first - window.start >= size - size // 2 - (size == 1)
        for token in range(window.first, window.stop):
            seen[window.document][token] += 1
    assert all(count == 1 for document in seen for count in document)


def test_batches_hold_no_more_than_asked_for() -> None:
    sizes: list[int] = []

    def scorer(rows: IntArray, targets: IntArray) -> NDArray[np.float32]:
        assert rows.shape == targets.shape
        sizes.append(rows.size)
        return np.zeros(rows.shape, dtype=np.float32)

    documents = [np.arange(n, dtype=np.int64) for n in (30, 3, 17, 8, 8, 1, 25)]
    score_documents(scorer, documents, START, PAD, 16, 64)
    assert max(sizes) <= 64 and len(sizes) < 7


def model_scorer(seed: int) -> ScoreRows:
    model = build_model(SHAPE, seed).eval()

    def score(rows: IntArray, targets: IntArray) -> NDArray[np.float32]:
        values: NDArray[np.float32] = token_log_probs(
            model, torch.from_numpy(rows), torch.from_numpy(targets), 64
        ).numpy()
        return values

    return score


def test_batches_of_a_model_score_as_one_document_at_a_time() -> None:
    torch.set_num_threads(1)
    score, rng = model_scorer(0), np.random.default_rng(0)
    documents = [rng.integers(2, 50, size=size) for size in (5, 40, 1, 16, 17, 23, 9, 2)]
    together = score_documents(score, documents, 0, 1, 16, 200)
    for document, values in zip(documents, together, strict=True):
        (alone,) = score_documents(score, [document], 0, 1, 16, 1)
        np.testing.assert_allclose(values, alone, atol=1e-5, rtol=0)
        assert values.shape == document.shape and (values < 0).all()


def test_a_short_document_has_the_probability_of_its_tokens_in_order() -> None:
    torch.set_num_threads(1)
    document = np.array([5, 9, 30, 2])
    (values,) = score_documents(model_scorer(1), [document], 0, 1, 16, 64)
    model = build_model(SHAPE, 1).eval()
    with torch.no_grad():
        hidden = model.hidden(torch.tensor([[0, 5, 9, 30]]))
        table = torch.log_softmax(hidden @ model.head.T, dim=-1)[0]
    expected = [table[t, token].item() for t, token in enumerate(document)]
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_packed_rows_are_the_concatenation_without_its_rest() -> None:
    documents = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6, 7])]
    assert [row.tolist() for row in pack_rows(documents, 3)] == [[1, 2, 3], [4, 5, 6]]
    assert list(pack_rows([], 3)) == []
