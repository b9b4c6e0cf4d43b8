"""The weights of k models of one shape, layer by layer, each as one tensor with the experts first.

The models' own weights become views of the stack, so that nothing is held twice; they can still be run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM
from transformers.activations import ACT2FN

from app.models.causal import CausalLM
from app.models.library import LibraryLM
from app.models.xglm import XGLM

_PAGE, _APART = 4096, 16
"""Bytes, numbers: rows that begin a whole number of pages apart fall into the same few sets of a processor's cache, and
a product with them takes up to a third longer; such rows get some room between them.
"""


class Product:
    """Parameters of a product, of all experts: ``weight`` (E, D, F), ``bias`` (E, 1, F) or None.

    A row of the weight belongs to an input, not to an output as in torch's own layers: rows times weights then reads
    them as they lie, which takes less time on a CPU for few rows, down to a half, and about as much for many.

    ``of_one``: those of each expert alone as ``F.linear`` takes them, (F, D) and (F,), cut once: a pass over few tokens
    is so short that cutting them in every layer would take a tenth of its time.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.of_one = _of_each(weight.transpose(1, 2), bias)

    @property
    def nbytes(self) -> int:
        """Bytes of all experts."""
        return _nbytes(self.weight, self.bias)


class Norm:
    """Parameters of a norm, of all experts: (E, 1, D) each, the bias may be None. of_one: as in ``Product``, (D,)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.of_one = _of_each(weight[:, 0], bias)

    @property
    def nbytes(self) -> int:
        """Bytes of all experts."""
        return _nbytes(self.weight, self.bias)


def _of_each(weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[tuple[torch.Tensor, torch.Tensor | None], ...]:
    biases = [None] * len(weight) if bias is None else bias[:, 0].unbind()
    return tuple(zip(weight.unbind(), biases, strict=True))


def _nbytes(weight: torch.Tensor, bias: torch.Tensor | None) -> int:
    return weight.nbytes + (0 if bias is None else bias.nbytes)


@dataclass(frozen=True)
class LayerWeights:
    """One layer: norm, query-key-value and output of attention; norm, first and second product of the feed-forward."""

    attention_norm: Norm
    qkv: Product
    out: Product
    feed_norm: Norm
    up: Product
    down: Product


@dataclass(frozen=True)
class StackedWeights:
    """All of k models, and what sets their architectures apart.

    embedding: (E, D, V), the head's where they are tied, multiplied by ``scale``; positions: (context, D), added to it,
    or None; rotary: gives cosines and sines (B, T, E) of positions, or None; gated: the feed-forward's first product
    holds a gate and a value.
    """

    embedding: torch.Tensor
    head: Product
    layers: Sequence[LayerWeights]
    last_norm: Norm
    heads: int
    shared_heads: int
    activation: Callable[[torch.Tensor], torch.Tensor]
    epsilon: float
    scale: float = 1.0
    positions: torch.Tensor | None = None
    rotary: nn.Module | None = None
    gated: bool = False


def stackable(model: CausalLM) -> str | None:
    """The architecture of a model that has a stacked form (``xglm``, ``llama``); None for others."""
    if isinstance(model, XGLM):
        return "xglm"
    return "llama" if isinstance(model, LibraryLM) and type(model.inner) is LlamaForCausalLM else None


def collect(models: Sequence[CausalLM]) -> StackedWeights:
    """The weights of models that are all stackable, of one architecture and shape."""
    if stackable(models[0]) == "xglm":
        return _xglm(cast(Sequence[XGLM], models))
    return _llama([cast(LlamaForCausalLM, cast(LibraryLM, model).inner) for model in models])


def _xglm(models: Sequence[XGLM]) -> StackedWeights:
    embedding = _stack([[model.model.embed_tokens.weight] for model in models])
    layers = []
    for layer in zip(*(model.model.layers for model in models), strict=True):
        attention = [each.self_attn for each in layer]
        layers.append(
            LayerWeights(
                attention_norm=_norm([each.self_attn_layer_norm for each in layer]),
                qkv=_linear([[each.q_proj, each.k_proj, each.v_proj] for each in attention]),
                out=_linear([[each.out_proj] for each in attention]),
                feed_norm=_norm([each.final_layer_norm for each in layer]),
                up=_linear([[each.fc1] for each in layer]),
                down=_linear([[each.fc2] for each in layer]),
            )
        )
    first = models[0]
    return StackedWeights(
        embedding,
        Product(embedding, None),
        layers,
        _norm([model.model.layer_norm for model in models]),
        heads=first.config.attention_heads,
        shared_heads=first.config.attention_heads,
        activation=F.gelu,
        epsilon=first.model.layer_norm.eps,
        scale=first.scale,
        positions=first.positions,
    )


def _llama(models: Sequence[LlamaForCausalLM]) -> StackedWeights:
    embedding = _stack([[model.model.embed_tokens.weight] for model in models])
    config = models[0].config
    tied = models[0].lm_head.weight is models[0].model.embed_tokens.weight
    layers = []
    for layer in zip(*(model.model.layers for model in models), strict=True):
        attention, feed = [each.self_attn for each in layer], [each.mlp for each in layer]
        layers.append(
            LayerWeights(
                attention_norm=_norm([each.input_layernorm for each in layer]),
                qkv=_linear([[each.q_proj, each.k_proj, each.v_proj] for each in attention]),
                out=_linear([[each.o_proj] for each in attention]),
                feed_norm=_norm([each.post_attention_layernorm for each in layer]),
                # The order in which StackedLM cuts them: first the gate, then the value.
                up=_linear([[each.gate_proj, each.up_proj] for each in feed]),
                down=_linear([[each.down_proj] for each in feed]),
            )
        )
    return StackedWeights(
        embedding,
        Product(embedding if tied else _stack([[model.lm_head.weight] for model in models]), None),
        layers,
        _norm([model.model.norm for model in models]),
        heads=config.num_attention_heads,
        shared_heads=config.num_key_value_heads,
        activation=ACT2FN[config.hidden_act],
        epsilon=config.rms_norm_eps,
        # Computed from settings, which are equal in all models: the first one's serves all.
        rotary=models[0].model.rotary_emb,
        gated=True,
    )


def _stack(weights: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """For each expert some (F_i, D) matrices, turned and laid beside each other -> (E, D, sum F_i)."""
    first = weights[0][0]
    sizes, inputs = [len(part) for part in weights[0]], first.shape[1]
    width = sum(sizes) + (_APART if sum(sizes) * first.itemsize % _PAGE == 0 else 0)
    stack = first.new_empty(len(weights), inputs, width)[:, :, : sum(sizes)]
    for held, parts in zip(stack, weights, strict=True):
        for part, place in zip(parts, held.split(sizes, dim=1), strict=True):
            place.copy_(part.detach().t())
            # The model's own memory is freed here, weight by weight, so that never all is held twice.
            part.data = place.t()
    return stack


def _stack_vectors(vectors: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """For each expert some (F_i,) vectors, laid behind each other -> (E, 1, sum F_i)."""
    stack = torch.stack([torch.cat([each.detach() for each in parts]) for parts in vectors])
    for held, parts in zip(stack, vectors, strict=True):
        for part, place in zip(parts, held.split([len(part) for part in parts]), strict=True):
            part.data = place
    return stack[:, None]


def _linear(modules: Sequence[Sequence[nn.Linear]]) -> Product:
    weight = _stack([[each.weight for each in parts] for parts in modules])
    if modules[0][0].bias is None:
        return Product(weight, None)
    return Product(weight, _stack_vectors([[each.bias for each in parts] for parts in modules]))


def _norm(modules: Sequence[nn.Module]) -> Norm:
    weight = _stack_vectors([[cast(torch.Tensor, each.weight)] for each in modules])
    if getattr(modules[0], "bias", None) is None:
        return Norm(weight, None)
    return Norm(weight, _stack_vectors([[cast(torch.Tensor, each.bias)] for each in modules]))
