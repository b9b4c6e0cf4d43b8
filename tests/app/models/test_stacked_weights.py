from __future__ import annotations

import torch

from app.models.architecture import ModelShape
from app.models.registry import build_model
from app.models.stacked_weights import collect, stackable
from app.models.xglm import XGLM
from tests.support.library_models import gpt2, made
from tests.support.tiny_models import tiny_model


def test_the_architectures_that_have_a_stacked_form() -> None:
    assert [stackable(made(kind)) for kind in ("xglm", "llama", gpt2)] == ["xglm", "llama", None]


def test_projections_lie_beside_each_other_and_experts_behind_each_other() -> None:
    models = [tiny_model("xglm", seed) for seed in range(3)]
    assert all(isinstance(model, XGLM) for model in models)
    attention = models[2].model.layers[1].self_attn  # type: ignore[attr-defined]
    query, value = attention.q_proj.weight.clone(), attention.v_proj.bias.clone()
    weights = collect(models)
    both = weights.layers[1].qkv
    qkv, bias = both.weight, both.bias
    assert qkv.shape == (3, 16, 48) and bias is not None and bias.shape == (3, 1, 48)
    assert torch.equal(qkv[2, :, :16], query.T) and torch.equal(bias[2, 0, 32:], value)
    assert attention.q_proj.weight.data_ptr() == qkv[2].data_ptr() == both.of_one[2][0].data_ptr()
    norm = weights.layers[1].feed_norm
    assert [tuple(one.shape) for one in norm.of_one[2] if one is not None] == [(16,), (16,)]
    assert both.nbytes == 4 * 3 * 48 * 17


def test_no_rows_of_a_stack_begin_whole_pages_apart() -> None:
    shape = ModelShape("xglm", vocab_size=2048, d_model=16, layers=1, heads=2, ffn=24, context=12)
    models = [build_model(shape, seed) for seed in range(2)]
    before = [model.head.clone() for model in models]
    head = collect(models).head
    assert head.weight.shape == (2, 16, 2048) and head.weight.stride(1) * 4 % 4096 != 0
    for number, model in enumerate(models):
        assert torch.equal(head.weight[number].T, before[number]) and torch.equal(model.head, before[number])
        assert model.head.data_ptr() == head.weight[number].data_ptr()
