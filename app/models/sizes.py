"""How large a model is, before it is there: from its shape, its config.json, or a table of published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from app.core.errors import ConfigError
from app.models.architecture import ModelShape
from app.models.library import LibraryLM
from app.models.load import count_parameters, require_plain_config
from app.models.registry import shape_config

PUBLISHED: Mapping[str, ModelShape] = {
    "facebook/xglm-564M": ModelShape("xglm", 256_008, 1024, 24, 16, 4096, 2048),
    "facebook/xglm-1.7B": ModelShape("xglm", 256_008, 2048, 24, 16, 8192, 2048),
    "facebook/xglm-7.5B": ModelShape("xglm", 256_008, 4096, 32, 32, 16_384, 2048),
}
"""Shapes of models on the Hub, each from the config.json of that repository."""


@dataclass(frozen=True)
class ModelSize:
    """Number of weights (a tied head once), of layers, of weights in one layer, width and vocabulary."""

    parameters: int
    layers: int
    layer_parameters: int
    width: int
    vocabulary: int


def size_of_shape(shape: ModelShape) -> ModelSize:
    """The size of a model built from this shape; nothing is allocated."""
    return _size(shape_config(shape))


def size_of_place(place: str, revision: str | None = None) -> ModelSize:
    """The size of the model in a folder, or of a Hub id that is published above or was downloaded before.

    Reads config.json alone and leaves the Hub alone. Raises ConfigError if there is none.
    """
    if not Path(place).is_dir() and place in PUBLISHED:
        return size_of_shape(PUBLISHED[place])
    try:
        config = AutoConfig.from_pretrained(place, revision=revision, local_files_only=True, trust_remote_code=False)
        require_plain_config(config, place)
        return _size(config)
    except ConfigError:
        raise
    except Exception as error:  # whatever the library raises over a file that is not what it seems
        raise ConfigError(
            f"the size of seed.model {place!r} is not known: no config.json of a causal language model is here, and a"
            f" plan leaves the Hub alone; known without one: {', '.join(PUBLISHED)}. Download its config.json into a"
            " folder and give that as seed.model"
        ) from error


def _size(config: PretrainedConfig) -> ModelSize:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layer = sum(weight.numel() for weight in LibraryLM(model).layers[0].parameters())
    return ModelSize(count_parameters(model), config.num_hidden_layers, layer, config.hidden_size, config.vocab_size)
