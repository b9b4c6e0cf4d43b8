"""XGLM seeds: our module with SDPA attention, from a shape or around the weights that the library loaded."""

from __future__ import annotations

from typing import cast

import torch
from transformers import PretrainedConfig, PreTrainedModel, XGLMConfig

from app.models.architecture import Architecture, ModelShape, special_ids
from app.models.xglm import XGLM, initialise


def xglm_config(shape: ModelShape) -> XGLMConfig:
    """See ``Architecture.config_of``."""
    return XGLMConfig(
        vocab_size=shape.vocab_size,
        d_model=shape.d_model,
        num_layers=shape.layers,
        attention_heads=shape.heads,
        ffn_dim=shape.ffn,
        max_position_embeddings=shape.context,
        decoder_start_token_id=shape.start_id,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        **special_ids(shape),
    )


def build_xglm(config: PretrainedConfig, seed: int) -> XGLM:
    """See ``Architecture.build``."""
    with torch.random.fork_rng(devices=[]):  # the layers draw weights of their own first
        model = XGLM(cast(XGLMConfig, config))
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def xglm_from_library(library: PreTrainedModel) -> XGLM:
    """Our module around the very tensors of transformers' class."""
    # No memory for weights that are replaced at once.
    with torch.device("meta"):
        model = XGLM(cast(XGLMConfig, library.config))
    # The head is the embedding here, not a weight beside it.
    state = {name: tensor for name, tensor in library.state_dict().items() if name != "lm_head.weight"}
    model.load_state_dict(state, assign=True)
    # The table is no part of the state and is still on the meta device.
    model.make_positions()
    return model


XGLM_SEED = Architecture("xglm", xglm_config, build_xglm, xglm_from_library)
