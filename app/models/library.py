"""Any other causal language model of transformers (Llama-type, GPT-2, ...) behind the same small interface."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from app.models.causal import CausalLM


class LibraryLM(CausalLM):
    """Wraps a transformers model; its decoder must return ``last_hidden_state`` and have a linear head without bias."""

    def __init__(self, inner: PreTrainedModel) -> None:
        super().__init__()
        self.inner = inner

    def hidden(self, rows: torch.Tensor) -> torch.Tensor:
        """See CausalLM."""
        out: torch.Tensor = self.inner.base_model(input_ids=rows, use_cache=False).last_hidden_state
        return out

    @property
    def head(self) -> torch.Tensor:
        """See CausalLM."""
        weight: torch.Tensor = self.inner.get_output_embeddings().weight
        return weight

    @property
    def layers(self) -> list[nn.Module]:
        """See CausalLM: the library keeps them in its longest list of modules."""
        lists = [list(module) for module in self.inner.base_model.modules() if isinstance(module, nn.ModuleList)]
        return max(lists, key=len)

    @property
    def context(self) -> int | None:
        """See CausalLM."""
        limit: int | None = getattr(self.inner.config, "max_position_embeddings", None)
        return limit

    def library_config(self) -> PretrainedConfig:
        """See CausalLM."""
        return self.inner.config

    def use_activation_checkpointing(self) -> None:
        """See CausalLM."""
        self.inner.activation_checkpointing_enable({"use_reentrant": False})
