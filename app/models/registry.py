"""The architectures by name. A new one is a file with an ``Architecture`` and a line here.

Models that are loaded and of no entry are the library's own, behind ``LibraryLM``.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PretrainedConfig, PreTrainedModel

from app.core.errors import ConfigError
from app.core.suggest import unknown_value
from app.models.architecture import Architecture, ModelShape
from app.models.causal import CausalLM
from app.models.library import LibraryLM
from app.models.llama import LLAMA
from app.models.xglm_seed import XGLM_SEED

ARCHITECTURES: Mapping[str, Architecture] = {entry.name: entry for entry in (XGLM_SEED, LLAMA)}


def architecture(name: str) -> Architecture:
    """The entry of this name. Raises ConfigError for an unknown one, with what was perhaps meant."""
    if name not in ARCHITECTURES:
        raise ConfigError(unknown_value("seed.architecture", name, ARCHITECTURES))
    return ARCHITECTURES[name]


def shape_config(shape: ModelShape) -> PretrainedConfig:
    """The library's configuration of a shape: tied head, no dropout."""
    return architecture(shape.architecture).config_of(shape)


def build_model(shape: ModelShape, seed: int) -> CausalLM:
    """A freshly initialised model with a tied head, float32, on the CPU; the same for the same seed."""
    entry = architecture(shape.architecture)
    return entry.build(entry.config_of(shape), seed)


def wrap(library: PreTrainedModel) -> CausalLM:
    """A model that the library loaded, as ours, around the same tensors. May raise ConfigError."""
    entry = ARCHITECTURES.get(library.config.model_type)
    return LibraryLM(library) if entry is None else entry.wrap(library)
