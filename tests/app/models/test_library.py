from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from app.core.errors import ConfigError
from app.models.library import LibraryLM
from app.models.loss import next_token_loss
from tests.support.tiny_models import some_rows, tiny_model


def llama(tied: bool) -> PreTrainedModel:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=24, tie_word_embeddings=tied, pad_token_id=1))


def gpt2() -> PreTrainedModel:
    sizes = {"vocab_size": 37, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 12}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **no_dropout, bos_token_id=0, eos_token_id=0))


@pytest.mark.parametrize("kind", ["llama, tied", "llama, untied", "gpt2"])
def test_logits_and_gradients_are_those_of_the_wrapped_model(kind: str) -> None:
    torch.manual_seed(2)
    inner = gpt2() if kind == "gpt2" else llama(kind == "llama, tied")
    wrapped = LibraryLM(inner)
    rows = some_rows()
    expected = inner(input_ids=rows).logits
    torch.testing.assert_close(wrapped.logits(rows), expected)
    nn.functional.cross_entropy(expected[:, :-1].flatten(0, 1), rows[:, 1:].flatten()).backward()
    theirs = {name: weight.grad.clone() for name, weight in inner.named_parameters() if weight.grad is not None}
    inner.zero_grad()
    next_token_loss(wrapped, rows, 7).backward()
    assert theirs
    for name, weight in inner.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_layers_are_the_two_that_hold_all_but_embeddings_and_the_last_norm(kind: str) -> None:
    wrapped = LibraryLM(gpt2() if kind == "gpt2" else llama(True))
    assert len(wrapped.layers) == 2
    inside = {id(weight) for layer in wrapped.layers for weight in layer.parameters()}
    outside = [name.split(".")[-2] for name, weight in wrapped.named_parameters() if id(weight) not in inside]
    assert set(outside) == ({"wte", "wpe", "ln_f"} if kind == "gpt2" else {"embed_tokens", "norm"})


def test_the_layers_of_a_mixture_of_experts_are_not_its_experts() -> None:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    wrapped = LibraryLM(MixtralForCausalLM(MixtralConfig(**sizes, intermediate_size=24, num_local_experts=5)))
    wrapped.inner.base_model.layers[0].experts = nn.ModuleList(nn.Linear(1, 1) for _ in range(5))
    assert [type(layer).__name__ for layer in wrapped.layers] == ["MixtralDecoderLayer"] * 2


def test_layers_under_an_unknown_name_are_an_error() -> None:
    wrapped = LibraryLM(llama(True))
    wrapped.inner.model.stages = wrapped.inner.model.layers
    del wrapped.inner.model.layers
    with pytest.raises(ConfigError, match="LlamaForCausalLM keeps its layers under none of layers, h"):
        _ = wrapped.layers


def test_the_head_of_a_tied_model_is_its_embedding() -> None:
    model = LibraryLM(llama(tied=True))
    assert model.head is model.inner.get_input_embeddings().weight
    assert LibraryLM(llama(tied=False)).head.data_ptr() != model.head.data_ptr()
    assert model.library_config() is model.inner.config


def test_activation_checkpointing_recomputes_and_gives_the_same_gradients() -> None:
    rows, gradients, calls = some_rows(), [], []
    for recompute in (False, True):
        model = tiny_model("llama").train()
        assert isinstance(model, LibraryLM)
        if recompute:
            model.use_activation_checkpointing()
        count = []
        model.inner.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        next_token_loss(model, rows, 8).backward()
        gradients.append([weight.grad for weight in model.parameters()])
        calls.append(len(count))
    assert calls == [1, 2]
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)
