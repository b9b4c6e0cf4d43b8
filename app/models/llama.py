"""Llama-type seeds: the library's class with its SDPA attention behind our interface (``LibraryLM``)."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig

from app.models.architecture import Architecture, ModelShape, special_ids
from app.models.library import LibraryLM


def llama_config(shape: ModelShape) -> LlamaConfig:
    """See ``Architecture.config_of``."""
    return LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.d_model,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        **special_ids(shape),
    )


def build_llama(config: PretrainedConfig, seed: int) -> LibraryLM:
    """See ``Architecture.build``; initialised as the library does."""
    # The caller's random stream stays as it was; models are built on the CPU, so no GPU's state is saved.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LibraryLM(LlamaForCausalLM(config))


LLAMA = Architecture("llama", llama_config, build_llama, LibraryLM)
