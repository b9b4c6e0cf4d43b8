"""k models of one shape as one: a pass runs the chosen experts for the chosen rows, in batched products.

Each row of a pass belongs to one expert; a text that three experts are to read is three rows. Rows are ordered by
expert, and only the experts that are named are run: their weights are read in place, nothing is stacked anew::

    stack = stack_models(models)                       # the models' weights become views of the stack
    cache = stack.new_cache(slots=4, length=128)       # 4 texts, each of them for every expert
    experts, slots = [0, 0, 5], [2, 3, 2]              # expert 0 reads the texts of slots 2 and 3, expert 5 that of 2
    hidden = stack.hidden(rows, experts, positions, cache.pairs(experts, slots))
    logits = stack.logits(hidden[:, -1:], experts)     # (3, 1, V)

Positions, padding and taking tokens back work as in ``app.models.cache``; each (expert, slot) has a past of its own,
so an expert that skipped tokens of a slot reads them before its next one. Results are those of the single models to
rounding. For inference: nothing here has a gradient.

A pass reads the chosen experts' weights once (``bytes_per_expert``, of the embedding only the rows looked up), the keys
and values of what is visible, and writes what is new.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from app.core.errors import ConfigError
from app.models.cache import CachePass, CacheRows, KVCache, LayerShape, begin_pass
from app.models.causal import CausalLM
from app.models.expert_plan import ExpertPlan
from app.models.stacked_weights import LayerWeights, Norm, StackedWeights, collect, stackable

_PLANS = 1024
# What a configuration says besides the function that the model computes.
_MAY_DIFFER = ("_name_or_path", "architectures", "dtype", "transformers_version")


class StackedCache(KVCache):
    """A cache of ``slots`` texts for each of k experts: (k · slots, H, length, E) a layer."""

    def __init__(
        self,
        experts: int,
        layers: Sequence[LayerShape],
        slots: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(layers, experts * slots, length, dtype, device)
        self.experts, self.texts = experts, slots

    def pairs(self, experts: Sequence[int], slots: Sequence[int]) -> CacheRows:
        """The rows of a pass: row i is the text of ``slots[i]`` as ``experts[i]`` read it."""
        return self.rows([expert * self.texts + slot for expert, slot in zip(experts, slots, strict=True)])


class StackedLM:
    """See the module; made by ``stack_models``. ``experts`` is their number, ``context`` as in ``CausalLM``."""

    def __init__(self, weights: StackedWeights, context: int | None) -> None:
        self.experts, self.width, self.vocabulary = weights.embedding.shape
        self.context = context
        self._weights = weights
        # Decoding runs the same experts again and again, for hidden states and for logits.
        new_plan = functools.partial(ExpertPlan, available=self.experts, device=self.device)
        self._plan = functools.lru_cache(maxsize=_PLANS)(new_plan)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weights.embedding.device

    @property
    def bytes_per_expert(self) -> int:
        """Bytes of one expert's weights that a pass with ``logits`` reads: all layers and the head."""
        layers = [weights for layer in self._weights.layers for weights in vars(layer).values()]
        held = [*layers, self._weights.last_norm, self._weights.head]
        return sum(weights.nbytes for weights in held) // self.experts

    def new_cache(self, slots: int, length: int) -> StackedCache:
        """An empty cache of ``slots`` texts for every expert. Raises ConfigError if ``length`` is over ``context``."""
        if self.context is not None and length > self.context:
            raise ConfigError(f"a cache of {length} tokens is longer than the models' context, {self.context}")
        weights = self._weights
        width = weights.layers[0].out.weight.shape[1] // weights.heads
        layers = [LayerShape(weights.shared_heads, width, width)] * len(weights.layers)
        return StackedCache(self.experts, layers, slots, length, weights.embedding.dtype, self.device)

    @torch.no_grad()
    def hidden(
        self,
        rows: torch.Tensor,
        experts: Sequence[int],
        positions: torch.Tensor | None = None,
        cache: CacheRows | None = None,
    ) -> torch.Tensor:
        """(P, T) int64 token ids -> (P, T, D) final hidden states, row i by expert ``experts[i]`` (ascending).

        positions, cache: as in ``CausalLM.hidden``. Raises ValueError for rows that are not ordered by expert.
        """
        weights, plan = self._weights, self._plan(tuple(experts))
        past = begin_pass(cache, positions)
        places = positions if past is None else past.positions
        if places is None:
            places = torch.arange(rows.shape[1], device=self.device).expand(len(rows), -1)
        x = plan.embedded(rows, weights.embedding)
        if weights.scale != 1:
            x = x * weights.scale
        if weights.positions is not None:
            x = x + F.embedding(places, weights.positions)
        turns = None if weights.rotary is None else weights.rotary(x, places)
        for number, layer in enumerate(weights.layers):
            y = self._attention(self._norm(x, layer.attention_norm, plan), layer, plan, turns, number, past)
            x = x + plan.linear(y, layer.out)
            y = plan.linear(self._norm(x, layer.feed_norm, plan), layer.up)
            x = x + plan.linear(self._activated(y), layer.down)
        return self._norm(x, weights.last_norm, plan)

    @torch.no_grad()
    def logits(self, hidden: torch.Tensor, experts: Sequence[int]) -> torch.Tensor:
        """(P, T, D) hidden states, row i of expert ``experts[i]`` (ascending) -> (P, T, V)."""
        return self._plan(tuple(experts)).linear(hidden, self._weights.head)

    def _attention(
        self,
        x: torch.Tensor,
        layer: LayerWeights,
        plan: ExpertPlan,
        turns: tuple[torch.Tensor, torch.Tensor] | None,
        number: int,
        past: CachePass | None,
    ) -> torch.Tensor:
        heads, shared = self._weights.heads, self._weights.shared_heads
        # (P, T, (heads + 2 shared) E) -> (P, heads + 2 shared, T, E): queries, keys, values, from one product.
        both = plan.linear(x, layer.qkv).view(*x.shape[:2], heads + 2 * shared, -1).transpose(1, 2)
        if turns is not None:
            both = torch.cat([_turn(both[:, : heads + shared], *turns), both[:, heads + shared :]], 1)
        query, keys, values = both.split_with_sizes([heads, shared, shared], 1)
        if past is not None:
            out = past.attend(number, query, keys, values)
        else:
            out = F.scaled_dot_product_attention(query, keys, values, is_causal=True, enable_gqa=shared < heads)
        return out.transpose(1, 2).flatten(2)

    def _norm(self, x: torch.Tensor, parameters: Norm, plan: ExpertPlan) -> torch.Tensor:
        shape, epsilon = x.shape[-1:], self._weights.epsilon
        if parameters.bias is None:
            return F.rms_norm(x, shape, None, epsilon) * plan.of_rows(parameters.weight)
        if plan.only is not None:
            return torch.layer_norm(x, shape, *parameters.of_one[plan.only], epsilon)
        # The kernel takes one weight for all rows; here each row has that of its expert.
        plain = torch.layer_norm(x, shape, eps=epsilon)
        return torch.addcmul(plan.of_rows(parameters.bias), plain, plan.of_rows(parameters.weight))

    def _activated(self, y: torch.Tensor) -> torch.Tensor:
        if not self._weights.gated:
            return self._weights.activation(y)
        gate, value = y.chunk(2, -1)
        return self._weights.activation(gate) * value


def can_stack(models: Sequence[CausalLM]) -> bool:
    """Whether the models are of one shape, on one device, and of an architecture that has a stacked form."""
    return _reason_against(models) is None


def stack_models(models: Sequence[CausalLM]) -> StackedLM:
    """One module of k models. Their weights become views of its memory: they stay usable and cost nothing more.

    Raises ConfigError if they are not of one shape or have no stacked form (XGLM and Llama have).
    """
    if reason := _reason_against(models):
        raise ConfigError(f"these {len(models)} models cannot be run as one: {reason}; run them one by one")
    return StackedLM(collect(models), models[0].context)


def _reason_against(models: Sequence[CausalLM]) -> str | None:
    kinds = [stackable(model) for model in models]
    if None in kinds or len(set(kinds)) != 1:
        return f"XGLM and Llama have a stacked form, and these are {', '.join(type(m).__name__ for m in models)}"
    if len({(weight.device, weight.dtype) for model in models for weight in model.parameters()}) != 1:
        return "their weights are on several devices or of several types"
    return None if all(_settings(model) == _settings(models[0]) for model in models) else "their settings differ"


def _settings(model: CausalLM) -> dict[str, object]:
    config: dict[str, object] = model.library_config().to_dict()  # type: ignore[attr-defined]
    return {name: value for name, value in config.items() if name not in _MAY_DIFFER}


def _turn(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions on (P, H, T, E); cosine, sine: (P, T, E). Source: arXiv 2104.09864, halves as in Llama."""
    first, second = x.chunk(2, -1)
    return x * cosine[:, None] + torch.cat([-second, first], -1) * sine[:, None]
