"""Any other causal language model of transformers (Llama-type, GPT-2, ...) behind the same small interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from app.core.errors import ConfigError
from app.models.cache import CacheRows, KVCache, begin_pass
from app.models.causal import CausalLM
from app.models.library_cache import library_hidden, make_library_cache, masks_of

_LAYER_LISTS = ("layers", "h", "blocks", "block")


class LibraryLM(CausalLM):
    """Wraps a transformers model; its decoder must return ``last_hidden_state`` and have a linear head without bias."""

    def __init__(self, inner: PreTrainedModel) -> None:
        super().__init__()
        self.inner = inner

    def hidden(
        self,
        rows: torch.Tensor,
        positions: torch.Tensor | None = None,
        cache: CacheRows | None = None,
        languages: Sequence[str] | None = None,
    ) -> torch.Tensor:
        """See CausalLM."""
        past = begin_pass(cache, positions)
        if past is not None:
            return library_hidden(self.inner, rows, past)
        # Without positions the library masks by itself, and may use its fast causal kernel.
        placed = {} if positions is None else {"position_ids": positions, "attention_mask": masks_of(self.inner, rows)}
        out: torch.Tensor = self.inner.base_model(input_ids=rows, use_cache=False, **placed).last_hidden_state
        return out

    def make_cache(self, slots: int, length: int) -> KVCache:
        """See CausalLM."""
        return make_library_cache(self.inner, slots, length)

    @property
    def head(self) -> torch.Tensor:
        """See CausalLM."""
        weight: torch.Tensor = self.inner.get_output_embeddings().weight
        return weight

    @property
    def layers(self) -> list[nn.Module]:
        """See CausalLM: the outermost list of modules under one of the names that the library gives it.

        Raises ConfigError where there is none.
        """
        for name, module in self.inner.base_model.named_modules():  # outermost first: experts lie inside of layers
            if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in _LAYER_LISTS:
                return list(module)
        raise ConfigError(
            f"{type(self.inner).__name__} keeps its layers under none of {', '.join(_LAYER_LISTS)}; choose another"
            " architecture for the seed"
        )

    @property
    def context(self) -> int | None:
        """See CausalLM."""
        limit: int | None = getattr(self.inner.config, "max_position_embeddings", None)
        return limit

    def library_config(self) -> PretrainedConfig:
        """See CausalLM."""
        return self.inner.config

    def save_weights(self, folder: Path) -> None:
        """See CausalLM."""
        self.inner.save_pretrained(folder, safe_serialization=True)

    def use_activation_checkpointing(self) -> None:
        """See CausalLM."""
        self.inner.activation_checkpointing_enable({"use_reentrant": False})
