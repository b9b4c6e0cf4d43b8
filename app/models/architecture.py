"""What one architecture brings: how a shape becomes a configuration, a configuration a model, a library model ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transformers import PretrainedConfig, PreTrainedModel

from app.models.causal import CausalLM


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model built from nothing; ``architecture`` is a name of the registry, ``context`` the longest row."""

    architecture: str
    vocab_size: int
    d_model: int
    layers: int
    heads: int
    ffn: int
    context: int
    start_id: int = 0
    pad_id: int = 1


@dataclass(frozen=True)
class Architecture:
    """One entry of ``app.models.registry``; each has a file of its own.

    name: as ``seed.architecture`` and config.json's ``model_type`` spell it.
    config_of: the library's configuration of a shape: tied head, no dropout.
    build: a freshly initialised model of a configuration, float32, on the CPU, the same for the same random seed.
    wrap: a model that the library loaded, as ours, around the same tensors. May raise ConfigError.
    """

    name: str
    config_of: Callable[[ModelShape], PretrainedConfig]
    build: Callable[[PretrainedConfig, int], CausalLM]
    wrap: Callable[[PreTrainedModel], CausalLM]


def special_ids(shape: ModelShape) -> dict[str, int]:
    """The ids of special tokens under the names of the library's configurations."""
    return {"bos_token_id": shape.start_id, "eos_token_id": shape.start_id, "pad_token_id": shape.pad_id}
