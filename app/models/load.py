"""Models from a Hugging Face folder or id, and back into a folder. Weights only from safetensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from app.core.errors import ConfigError
from app.models.causal import CausalLM
from app.models.library import LibraryLM
from app.models.registry import wrap

CARD = "README.md"
_COMPUTED = re.compile(r"(rotary_emb\.inv_freq|embed_positions\.(weights|_float_tensor)|attn\.(masked_)?bias)$")
"""What older versions of the library stored besides the weights: tables that are computed."""
_AMPLIFIED = 4096.0  # a power of two, so that weights come back as they were


def load_model(place: str, revision: str | None = None) -> CausalLM:
    """Load a causal language model in float32 from a folder or a Hub id; nothing remote is executed.

    XGLM gets our attention, everything else the library's (SDPA, or eager where the architecture has no other);
    dropout is off. Raises ConfigError if the folder is missing, is not a causal language model, is quantised or has
    parts for other input than text, has no safetensors weights, lacks some of them or has more than its config.json
    says, or if its logits are more than a matrix product of its hidden states.
    """
    # The library would take a folder that is not there for an id on the Hub.
    if place.startswith((".", "/", "~")) and not Path(place).is_dir():
        raise ConfigError(f"seed.model {place!r} is not a folder")
    try:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        require_plain_config(config, place)
        # Before the model is built: many layers take their dropout over then and do not look again.
        _without_dropout(config)
        library, report = _from_pretrained(place, revision, config)
    except ConfigError:
        raise
    except Exception as error:  # the library raises whatever its many architectures and file formats raise
        raise ConfigError(
            f"cannot load {place!r} as a causal language model: {_first_line(error)}; give a Hugging Face folder or id"
            " with config.json and safetensors weights"
        ) from error
    _require_same_weights(place, report)
    _copy_weights(library)
    try:
        _require_plain_decoder(library, place)
    except ConfigError:
        raise
    except Exception as error:  # as above: an architecture that takes or gives something else
        raise ConfigError(
            f"{place!r} ({config.model_type}) cannot be run as a causal language model: {_first_line(error)}; choose a"
            " seed like Llama, XGLM or GPT-2"
        ) from error
    return wrap(library)


def _from_pretrained(
    place: str, revision: str | None, config: PretrainedConfig
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    options: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": False,
        "config": config,
        "dtype": torch.float32,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    kind = _attention_for(config)
    with _without_bars():
        library, report = AutoModelForCausalLM.from_pretrained(place, attn_implementation=kind, **options)
    return library, report


@contextmanager
def _without_bars() -> Iterator[None]:
    """A server that loads many models would print a bar of the library's for each, between the lines of its log."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _attention_for(config: PretrainedConfig) -> str:
    """``sdpa``, or ``eager`` for architectures without it and for scores that are capped inside of attention."""
    try:
        architecture = AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        return "sdpa"  # no causal language model: the library says so
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    return "sdpa" if architecture._supports_sdpa and not capped else "eager"


def require_plain_config(config: PretrainedConfig, place: str) -> None:
    """Raise ConfigError for quantised weights and for models that read more than text."""
    if getattr(config, "quantization_config", None):
        raise ConfigError(
            f"{place!r} holds quantised weights (quantization_config in its config.json), which cannot be trained; give"
            " the folder or id of the unquantised model"
        )
    if config.get_text_config() is not config:
        raise ConfigError(
            f"{place!r} ({config.model_type}) reads more than text; load its language model with transformers, save it"
            " with save_pretrained, and give that folder"
        )


def _require_same_weights(place: str, report: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the file holds just the weights that config.json calls for."""
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(
            f"{place!r} lacks {len(missing)} of its weights, {missing[0]} among them; it may be another kind of model"
            " than its config.json says"
        )
    if unknown := sorted(name for name in report["unexpected_keys"] if not _COMPUTED.search(name)):
        raise ConfigError(
            f"{place!r} has {len(unknown)} weights that its config.json has no place for: {', '.join(unknown[:3])};"
            " they would be lost. Correct its config.json (the number of layers, say), or save the model anew without"
            " them"
        )


def require_vocabulary(model: CausalLM, vocab_size: int, name: str) -> None:
    """Raise ConfigError if the tokenizer has ids that the model has no embedding for."""
    if vocab_size > model.head.shape[0]:
        raise ConfigError(
            f"the tokenizer has {vocab_size} ids but model {name} embeds only {model.head.shape[0]}; take both from the"
            " same seed (seed.model)"
        )


def save_model(model: CausalLM, folder: Path, card: str) -> None:
    """Write config.json, model.safetensors (a tied head once) and the model card; ``from_pretrained`` loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(folder)
    (folder / CARD).write_text(card, encoding="utf-8")


def count_parameters(model: nn.Module) -> int:
    """Number of weights; a tied head counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _without_dropout(config: PretrainedConfig) -> None:
    """Every dropout of every architecture is a float with "drop" in its name: dropout, resid_pdrop, layerdrop..."""
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)


def _copy_weights(library: PreTrainedModel) -> None:
    """Move weights from the mapped file to memory of their own.

    The library leaves them at the file's odd addresses, where kernels are slower and may add in another order.
    """
    for tensor in (*library.parameters(), *library.buffers()):
        tensor.data = tensor.data.clone()


@torch.no_grad()
def _require_plain_decoder(library: PreTrainedModel, place: str) -> None:
    """Try six tokens: a token must not see later ones, and logits must be the product of hidden states and head."""
    model = LibraryLM(library).eval()
    rows = torch.arange(6)[None] % library.config.vocab_size
    changed = rows.clone()
    changed[0, -1] = (changed[0, -1] + 1) % library.config.vocab_size
    hidden = model.hidden(rows)
    if not torch.allclose(hidden[:, :-1], model.hidden(changed)[:, :-1], rtol=1e-3, atol=1e-4):
        raise ConfigError(f"{place!r} is not a causal language model: its tokens see later ones")
    plain = _head_is_one_matrix(model, rows)
    model.head.mul_(_AMPLIFIED)  # a cap is not seen in logits that lie far below it
    plain &= _head_is_one_matrix(model, rows)
    model.head.div_(_AMPLIFIED)
    if not plain:
        raise ConfigError(
            f"{place!r} scales, caps or biases its logits, which the chunked loss does not know; choose a model whose"
            " head is one matrix (Llama-type, XGLM, GPT-2)"
        )


def _head_is_one_matrix(model: LibraryLM, rows: torch.Tensor) -> bool:
    expected = nn.functional.linear(model.hidden(rows), model.head)
    logits: torch.Tensor = model.inner(input_ids=rows, use_cache=False).logits
    # Relative to the largest logit: the rounding of amplified ones grows with them.
    close = torch.allclose(logits, expected, rtol=1e-3, atol=1e-3 * max(1.0, float(expected.abs().max())))
    return close and model.inner.get_output_embeddings().bias is None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
