from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import XGLMConfig, XGLMForCausalLM

from app.core.errors import ConfigError
from app.models.loss import next_token_loss
from app.models.xglm import XGLM, initialise, sinusoidal_positions
from app.models.xglm_seed import xglm_from_library
from tests.support.tiny_models import some_rows, tiny_model


def config(**changes: Any) -> XGLMConfig:
    sizes = {"vocab_size": 37, "d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 24}
    options = {"max_position_embeddings": 12, "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    return XGLMConfig(**{**sizes, **options, "attn_implementation": "eager", "init_std": 0.3, **changes})


def library_model(**changes: Any) -> XGLMForCausalLM:
    torch.manual_seed(5)
    model = XGLMForCausalLM(config(**changes))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:  # fresh biases and gains hide mistakes
                weight.copy_(torch.randn_like(weight) * 0.2 + ("norm.weight" in name))
    return model


@pytest.mark.parametrize("changes", [{}, {"scale_embedding": False}, {"pad_token_id": 4}, {"attention_heads": 4}])
def test_logits_and_all_gradients_equal_the_librarys(changes: dict[str, Any]) -> None:
    library = library_model(**changes)
    ours = xglm_from_library(library)
    rows = some_rows()
    expected = library(input_ids=rows).logits
    got = ours.logits(rows)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)

    nn.functional.cross_entropy(expected[:, :-1].flatten(0, 1), rows[:, 1:].flatten()).backward()
    next_token_loss(ours, rows, 7).backward()
    theirs = dict(library.named_parameters())
    assert dict(ours.named_parameters()).keys() == theirs.keys()
    for name, weight in ours.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, theirs[name].grad, rtol=1e-5, atol=1e-5, msg=name)


def test_what_follows_a_row_does_not_change_its_logits() -> None:
    model = xglm_from_library(library_model())
    rows = some_rows(length=6)
    padded = torch.cat([rows, torch.full((len(rows), 4), 1)], dim=1)
    torch.testing.assert_close(model.logits(padded)[:, :6], model.logits(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("width", "padding"), [(8, 1), (7, 1), (9, None), (8, 5)])
def test_positions_are_the_librarys_formula_two_rows_late(width: int, padding: int | None) -> None:
    half = width // 2
    for position, row in enumerate(sinusoidal_positions(6, width, padding).tolist()):
        place = position + 2
        angles = [place / 10000 ** (i / (half - 1)) for i in range(half)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles] + [0.0] * (width % 2)
        assert row == pytest.approx([0.0] * width if place == padding else expected, abs=1e-6)


def test_an_odd_width_gives_the_librarys_logits() -> None:
    library = library_model(d_model=15, attention_heads=3)
    rows = some_rows()
    torch.testing.assert_close(
        xglm_from_library(library).logits(rows), library(input_ids=rows).logits, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "changes", [{"tie_word_embeddings": False}, {"add_cross_attention": True}, {"activation_function": "relu"}]
)
def test_any_other_form_of_xglm_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="only the published form"):
        XGLM(config(**changes))


def test_activation_checkpointing_gives_the_same_loss_and_gradients() -> None:
    rows, results = some_rows(), []
    for recompute in (False, True):
        model = tiny_model()
        if recompute:
            model.use_activation_checkpointing()
        loss = next_token_loss(model, rows, 8)
        loss.backward()
        results.append((loss.item(), {name: weight.grad for name, weight in model.named_parameters()}))
    (plain, plain_grads), (recomputed, recomputed_grads) = results
    assert plain == recomputed
    for name, gradient in plain_grads.items():
        torch.testing.assert_close(recomputed_grads[name], gradient, rtol=0, atol=0, msg=name)


def test_fresh_weights_are_normal_with_zero_biases_and_a_zero_padding_row() -> None:
    model = XGLM(config(vocab_size=2000, d_model=32, init_std=0.05))
    initialise(model, torch.Generator().manual_seed(1))
    table = model.head.detach()
    assert torch.count_nonzero(table[1]) == 0
    assert float(table.std()) == pytest.approx(0.05, rel=0.02)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert torch.count_nonzero(weight) == 0
        elif "norm" in name:
            assert torch.equal(weight, torch.ones_like(weight))
