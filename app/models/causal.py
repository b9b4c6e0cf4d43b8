"""The one thing the project asks of a model: final hidden states and the matrix that turns them into logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from app.core.errors import ConfigError
from app.models.cache import CacheRows, KVCache

WEIGHTS = "model.safetensors"
"""The file of a saved model's weights."""


class CausalLM(nn.Module, ABC):
    """A decoder with a linear head."""

    @abstractmethod
    def hidden(
        self,
        rows: torch.Tensor,
        positions: torch.Tensor | None = None,
        cache: CacheRows | None = None,
        languages: Sequence[str] | None = None,
    ) -> torch.Tensor:
        """(B, T) int64 token ids -> (B, T, D) final hidden states.

        rows: without a cache right-padded or full; position t sees tokens 0..t.
        positions: (B, T) int64, where each token stands in its text; 0..T-1 where not given. Needed with a cache.
        cache: the slots that the rows go on in (``app.models.cache``): a token at position p sees what was written at
        0..p of its slot. The hidden states are those of the whole text in one row without a cache, to rounding.
        languages: the code of each row's language; a model without parts of their own for languages ignores it.
        """

    @property
    @abstractmethod
    def head(self) -> torch.Tensor:
        """(V, D) weight of the output projection; the same tensor as the input embedding where they are tied."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers, first to last: what is put together at a time where a model is sharded."""

    @property
    def context(self) -> int | None:
        """Longest row in tokens; None where the architecture sets no limit."""
        return None

    @abstractmethod
    def make_cache(self, slots: int, length: int) -> KVCache:
        """``new_cache`` after its check."""

    def new_cache(self, slots: int, length: int) -> KVCache:
        """An empty cache for ``slots`` texts of at most ``length`` tokens, on the model's device and in its dtype.

        All its memory is taken now (``KVCache.nbytes``). Raises ConfigError if ``length`` is more than ``context``.
        """
        if self.context is not None and length > self.context:
            raise ConfigError(f"a cache of {length} tokens is longer than the model's context, {self.context}")
        return self.make_cache(slots, length)

    @abstractmethod
    def library_config(self) -> object:
        """The transformers configuration that describes this model."""

    @abstractmethod
    def save_weights(self, folder: Path) -> None:
        """Write config.json and model.safetensors, a tied head once; the library's ``from_pretrained`` loads them."""

    @abstractmethod
    def use_activation_checkpointing(self) -> None:
        """Recompute each layer's activations in the backward pass."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, V): the full logits, for small inputs and generation only."""
        return nn.functional.linear(self.hidden(rows), self.head)
