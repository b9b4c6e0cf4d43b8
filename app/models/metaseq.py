"""The paper's published checkpoints: XGLM as fairseq and metaseq store it, to our model.

One file holds ``{"cfg" or "args": ..., "model": {"decoder.layers.0.self_attn.q_proj.weight": ..., ...}}``. The names
are the library's with another first word; positions are sinusoids without weights; the head is the embedding.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import XGLMConfig

from app.core.errors import ConfigError
from app.models.xglm import XGLM

SUFFIXES = (".pt", ".pth", ".bin")
_LEFT_OUT = ("version", "output_projection.weight", "_float_tensor", "embed_positions._float_tensor")
"""Bookkeeping, the tied head, and the table of sinusoids under two names."""
_SIZES = {
    "d_model": "decoder_embed_dim",
    "num_layers": "decoder_layers",
    "attention_heads": "decoder_attention_heads",
    "ffn_dim": "decoder_ffn_embed_dim",
}


def is_metaseq(place: str) -> bool:
    """Whether a path is a checkpoint file of this kind, by its name."""
    return place.endswith(SUFFIXES) and Path(place).is_file()


def load_metaseq(place: str) -> XGLM:
    """The model of one checkpoint file, float32, on the CPU; nothing in the file is executed.

    Raises ConfigError for a file that needs more than plain tensors and settings, for one shard of several, for fused
    projections, and for missing or unknown weights, each by name.
    """
    checkpoint = _read(place)
    stored = checkpoint.get("model")
    settings = _settings(checkpoint)
    if not isinstance(stored, dict) or settings is None:
        held = ", ".join(map(str, checkpoint))
        raise ConfigError(f"{place} is no fairseq or metaseq checkpoint: it holds {held}, not model and cfg")
    decoder = {name.removeprefix("decoder."): tensor for name, tensor in stored.items()}
    if flat := sorted(name for name in decoder if "flat_param" in name):
        raise ConfigError(f"{place} is one shard of several ({flat[0]}); consolidate them with metaseq first")
    if fused := sorted(name for name in decoder if "qkv_proj" in name or "in_proj" in name):
        raise ConfigError(f"{place} fuses its projections ({fused[0]}); export it with separate q, k and v")
    config = _library_config(place, settings, decoder)
    model = XGLM(config)
    weights = {f"model.{name}": tensor.float() for name, tensor in decoder.items() if name not in _LEFT_OUT}
    # Not strict: torch would raise a list of all names in its own words.
    try:
        missing, unknown = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # of shapes it raises all the same, one a line below a heading
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{place} does not fit its own settings: {reason}") from None
    if missing or unknown:
        raise ConfigError(
            f"{place} does not fit its own settings: it lacks {', '.join(missing[:3]) or 'nothing'} and has"
            f" {', '.join(unknown[:3]) or 'nothing'} too much"
        )
    return model


def _read(place: str) -> Mapping[str, Any]:
    try:
        # Older fairseq keeps its settings in a Namespace, which holds data alone; nothing else may be unpickled.
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign or broken file makes the reader raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(
            f"{place} cannot be read as plain tensors and settings: {reason.strip()}; where it was made, save"
            ' {"cfg": <a plain dictionary>, "model": ...} with torch.save and give that file'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ConfigError(f"{place} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def _settings(checkpoint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The model's settings: ``cfg["model"]`` as fairseq writes it, ``cfg`` or ``args`` themselves in older files."""
    found = checkpoint.get("cfg") or checkpoint.get("args")
    found = vars(found) if isinstance(found, argparse.Namespace) else found
    inner = found.get("model") if isinstance(found, Mapping) else None
    inner = vars(inner) if isinstance(inner, argparse.Namespace) else inner
    chosen = inner if isinstance(inner, Mapping) else found
    return chosen if isinstance(chosen, Mapping) else None


def _library_config(place: str, settings: Mapping[str, Any], decoder: Mapping[str, torch.Tensor]) -> XGLMConfig:
    lacking = [name for name in (*_SIZES.values(), "max_target_positions") if not settings.get(name)]
    if lacking or "embed_tokens.weight" not in decoder:
        raise ConfigError(f"{place} does not say {', '.join(lacking) or 'its embedding'}; it may not be a decoder")
    activation = settings.get("activation_fn", "gelu")
    if activation != "gelu" or not settings.get("decoder_normalize_before", True):
        raise ConfigError(f"{place} has activation {activation} or norms after its layers; XGLM: gelu, norms before")
    return XGLMConfig(
        vocab_size=decoder["embed_tokens.weight"].shape[0],
        max_position_embeddings=int(settings["max_target_positions"]),
        scale_embedding=not settings.get("no_scale_embedding", False),
        tie_word_embeddings=True,
        # The first ids of fairseq's dictionaries are always begin, padding, end; the file does not say them.
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        **{ours: int(settings[theirs]) for ours, theirs in _SIZES.items()},
    )
