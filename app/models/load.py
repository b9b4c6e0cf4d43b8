"""Models from a shape, from a Hugging Face folder or id, and back into a folder. Weights only from safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    XGLMConfig,
    XGLMForCausalLM,
)

from app.core.errors import ConfigError
from app.models.causal import CausalLM
from app.models.library import LibraryLM
from app.models.xglm import XGLM, initialise

WEIGHTS = "model.safetensors"
CARD = "README.md"
_NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 0.0}


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model built from nothing; ``context`` is the longest row in tokens."""

    architecture: Literal["xglm", "llama"]
    vocab_size: int
    d_model: int
    layers: int
    heads: int
    ffn: int
    context: int
    start_id: int = 0
    pad_id: int = 1


def build_model(shape: ModelShape, seed: int) -> CausalLM:
    """A freshly initialised model with a tied head, float32, on the CPU; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    ids = {"bos_token_id": shape.start_id, "eos_token_id": shape.start_id, "pad_token_id": shape.pad_id}
    if shape.architecture == "xglm":
        config = XGLMConfig(
            vocab_size=shape.vocab_size,
            d_model=shape.d_model,
            num_layers=shape.layers,
            attention_heads=shape.heads,
            ffn_dim=shape.ffn,
            max_position_embeddings=shape.context,
            decoder_start_token_id=shape.start_id,
            **ids,
            **_NO_DROPOUT,
        )
        with torch.random.fork_rng(devices=[]):  # the layers draw weights of their own first
            model = XGLM(config)
        initialise(model, generator)
        return model
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.d_model,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LibraryLM(LlamaForCausalLM(config))


def load_model(place: str, revision: str | None = None) -> CausalLM:
    """Load a causal language model in float32 from a folder or a Hub id; nothing remote is executed.

    XGLM gets our attention, everything else the library's SDPA attention. Raises ConfigError if the folder is
    missing, is not a causal language model, or has no safetensors weights.
    """
    if place.startswith((".", "/")) and not Path(place).is_dir():
        raise ConfigError(f"seed.model {place!r} is not a folder")
    try:
        config = AutoConfig.from_pretrained(place, revision=revision)
        options = {"revision": revision, "dtype": torch.float32, "use_safetensors": True}
        if isinstance(config, XGLMConfig):
            library = XGLMForCausalLM.from_pretrained(place, **options)
            return xglm_from_library(library)
        inner = AutoModelForCausalLM.from_pretrained(place, attn_implementation="sdpa", **options)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"cannot load {place!r} as a causal language model: {first}; give a Hugging Face folder or id with"
            " config.json and safetensors weights"
        ) from error
    return LibraryLM(inner)


def xglm_from_library(library: XGLMForCausalLM) -> XGLM:
    """Our module with the weights of transformers' class; dropout is switched off in the configuration."""
    config = library.config
    for name, value in _NO_DROPOUT.items():
        setattr(config, name, value)
    model = XGLM(config)
    state = {name: tensor for name, tensor in library.state_dict().items() if name != "lm_head.weight"}
    model.load_state_dict(state)
    return model


def save_model(model: CausalLM, folder: Path, card: str) -> None:
    """Write config.json, model.safetensors (a tied head once) and the model card; ``from_pretrained`` loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, LibraryLM):
        model.inner.save_pretrained(folder, safe_serialization=True)
    else:
        config = model.library_config()
        assert isinstance(config, XGLMConfig)
        config.architectures = ["XGLMForCausalLM"]
        config.dtype = "float32"
        config.save_pretrained(folder)
        save_file(_contiguous(model.state_dict()), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CARD).write_text(card, encoding="utf-8")


def count_parameters(model: CausalLM) -> int:
    """Number of weights; a tied head counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _contiguous(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
