"""Tiny models of transformers' classes, of kinds that keep the past in different ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from app.models.causal import CausalLM
from app.models.library import LibraryLM
from tests.support.tiny_models import tiny_model

SIZES = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
LENGTH = 12


def llama_with_shared_heads() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SIZES, **IDS, num_key_value_heads=2, intermediate_size=24))


def untied_llama_with_biases() -> LlamaForCausalLM:
    biases = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}
    inner = LlamaForCausalLM(LlamaConfig(**SIZES, **IDS, **biases, head_dim=6, intermediate_size=24))
    for name, weight in inner.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
    return inner


def gpt2() -> GPT2LMHeadModel:
    sizes = {"vocab_size": 37, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": LENGTH}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def opt() -> OPTForCausalLM:
    return OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=24, max_position_embeddings=LENGTH, word_embed_proj_dim=16))


def mistral_with_a_window() -> MistralForCausalLM:
    return MistralForCausalLM(
        MistralConfig(**SIZES, **IDS, num_key_value_heads=2, intermediate_size=24, sliding_window=3)
    )


def gemma_with_both_kinds_of_layers() -> Gemma3ForCausalLM:
    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            **SIZES, **IDS, num_key_value_heads=2, head_dim=4, intermediate_size=24, sliding_window=3, layer_types=kinds
        )
    )


def bloom() -> BloomForCausalLM:
    return BloomForCausalLM(BloomConfig(vocab_size=37, hidden_size=16, n_layer=2, n_head=2, **IDS))


def gpt_neo() -> GPTNeoForCausalLM:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_position_embeddings": LENGTH}
    return GPTNeoForCausalLM(GPTNeoConfig(**sizes, **IDS, attention_types=[[["global", "local"], 1]], window_size=3))


KEEPING_KEYS = (llama_with_shared_heads, gpt2, opt, mistral_with_a_window, gemma_with_both_kinds_of_layers)
KEEPING_TOKENS = (bloom, gpt_neo)


def made(kind: str | Callable[[], torch.nn.Module]) -> CausalLM:
    if isinstance(kind, str):
        return tiny_model(kind).eval()  # type: ignore[arg-type]
    torch.manual_seed(5)
    return LibraryLM(kind().eval())  # type: ignore[arg-type]
