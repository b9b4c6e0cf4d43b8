"""The one thing the project asks of a model: final hidden states and the matrix that turns them into logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn


class CausalLM(nn.Module, ABC):
    """A decoder with a linear head; rows are right-padded or full, positions start at 0."""

    @abstractmethod
    def hidden(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 token ids -> (B, T, D) final hidden states; position t sees tokens 0..t."""

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
    def library_config(self) -> object:
        """The transformers configuration that describes this model."""

    @abstractmethod
    def use_activation_checkpointing(self) -> None:
        """Recompute each layer's activations in the backward pass."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, V): the full logits, for small inputs and generation only."""
        return nn.functional.linear(self.hidden(rows), self.head)
