from __future__ import annotations

from app.models.flops import training_flops_per_token
from app.models.load import count_parameters
from tests.support.tiny_models import TINY, tiny_model


def test_a_hand_worked_case() -> None:
    # 6 · 1,000 for the weights; 6 · 2 layers · 8 wide · 16 tokens for the lower triangle of attention
    assert training_flops_per_token(1000, 2, 8, 16) == 6000 + 1536


def test_matrix_products_counted_one_by_one_agree_but_for_the_vectors() -> None:
    width, ffn, length = TINY.d_model, TINY.ffn, TINY.context
    per_layer = 4 * width * width + 2 * width * ffn  # q, k, v, out, and the two of the feed-forward
    multiply_adds = TINY.layers * per_layer + TINY.vocab_size * width
    mean_attended = length / 2
    attention = TINY.layers * 2 * mean_attended * width  # scores, and the weighted sum of values
    forward = 2 * (multiply_adds + attention)
    vectors = count_parameters(tiny_model()) - multiply_adds  # biases and gains: not matrices, below a tenth here
    got = training_flops_per_token(count_parameters(tiny_model()), TINY.layers, width, length)
    assert got == 3 * forward + 6 * vectors
    assert vectors < 0.1 * multiply_adds
