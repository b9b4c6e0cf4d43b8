"""XGLM with scaled-dot-product attention, under the library's parameter names.

transformers' own class has eager attention only. This one computes the same function (tested for equality of
logits and gradients), so weights move between the two freely.

Shape legend: B batch, T time, H heads, D model width, E head width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import XGLMConfig

from app.core.errors import ConfigError
from app.models.cache import CachePass, CacheRows, KVCache, LayerShape, begin_pass
from app.models.causal import WEIGHTS, CausalLM

_POSITION_OFFSET = 2  # the library's table starts two rows late, as fairseq's did


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BTD: torch.Tensor, layer: int = 0, past: CachePass | None = None) -> torch.Tensor:
        q_BHTE, k_BHTE, v_BHTE = (
            projection(x_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if past is None:
            y_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True)
        else:
            y_BHTE = past.attend(layer, q_BHTE, k_BHTE, v_BHTE)
        out: torch.Tensor = self.out_proj(y_BHTE.transpose(1, 2).flatten(2))
        return out


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, ffn)
        self.fc2 = nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x_BTD: torch.Tensor, layer: int = 0, past: CachePass | None = None) -> torch.Tensor:
        x_BTD = x_BTD + self.self_attn(self.self_attn_layer_norm(x_BTD), layer, past)
        out: torch.Tensor = x_BTD + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x_BTD))))
        return out


class _Decoder(nn.Module):
    def __init__(self, config: XGLMConfig) -> None:
        super().__init__()
        width = config.d_model
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.layers = nn.ModuleList(
            _Layer(width, config.attention_heads, config.ffn_dim) for _ in range(config.num_layers)
        )
        self.layer_norm = nn.LayerNorm(width)


class XGLM(CausalLM):
    """The XGLM decoder (arXiv 2112.10668). Dropout is not applied: experts train for less than one epoch."""

    positions: torch.Tensor

    def __init__(self, config: XGLMConfig) -> None:
        super().__init__()
        if config.activation_function != "gelu" or config.add_cross_attention or not config.tie_word_embeddings:
            raise ConfigError(
                "this XGLM has another activation, cross attention or an untied head; only the published form is known"
            )
        self.config = config
        self.model = _Decoder(config)
        self.scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.make_positions()
        self._recompute = False

    def make_positions(self) -> None:
        """Compute the table of positions; needed again where the module was made on the meta device."""
        config = self.config
        table = sinusoidal_positions(config.max_position_embeddings, config.d_model, config.pad_token_id)
        # Not stored: it is computed from the configuration, and the library's files have no such weight.
        self.register_buffer("positions", table, persistent=False)

    def hidden(
        self,
        rows: torch.Tensor,
        positions: torch.Tensor | None = None,
        cache: CacheRows | None = None,
        languages: Sequence[str] | None = None,
    ) -> torch.Tensor:
        """See CausalLM."""
        past = begin_pass(cache, positions)
        places = positions if past is None else past.positions
        placed = self.positions[: rows.shape[1]] if places is None else self.positions[places]
        x_BTD = self.model.embed_tokens(rows) * self.scale + placed
        for number, layer in enumerate(self.model.layers):
            # Over a cache there is no backward pass to recompute anything for.
            if self._recompute and past is None:
                x_BTD = checkpoint(layer, x_BTD, use_reentrant=False)
            else:
                x_BTD = layer(x_BTD, number, past)
        out: torch.Tensor = self.model.layer_norm(x_BTD)
        return out

    @property
    def head(self) -> torch.Tensor:
        """See CausalLM."""
        return self.model.embed_tokens.weight

    @property
    def layers(self) -> list[nn.Module]:
        """See CausalLM."""
        return list(self.model.layers)

    @property
    def context(self) -> int:
        """See CausalLM."""
        return self.positions.shape[0]

    def make_cache(self, slots: int, length: int) -> KVCache:
        """See CausalLM."""
        heads = self.config.attention_heads
        width = self.config.d_model // heads
        layers = [LayerShape(heads, width, width)] * self.config.num_layers
        return KVCache(layers, slots, length, self.head.dtype, self.head.device)

    def library_config(self) -> XGLMConfig:
        """See CausalLM."""
        return self.config

    def save_weights(self, folder: Path) -> None:
        """See CausalLM."""
        # The library's save_pretrained of a model sets these two; here only the configuration is saved by it.
        # The weights are float32, whatever the configuration said of the file that they were loaded from.
        self.config.architectures = ["XGLMForCausalLM"]
        self.config.dtype = "float32"
        self.config.save_pretrained(folder)
        # safetensors refuses tensors that are not contiguous.
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})

    def use_activation_checkpointing(self) -> None:
        """See CausalLM."""
        self._recompute = True


def sinusoidal_positions(length: int, width: int, padding_id: int | None) -> torch.Tensor:
    """(length, width): sines in the first half of the columns, cosines in the second, rows shifted by two."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(length + _POSITION_OFFSET).float()[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    if width % 2:
        table = F.pad(table, (0, 1))
    if padding_id is not None:
        table[padding_id] = 0
    return table[_POSITION_OFFSET:]


def initialise(model: XGLM, generator: torch.Generator) -> None:
    """Fresh weights as the library draws them: normal with ``init_std``, zero biases, zero padding row."""
    std = model.config.init_std
    with torch.no_grad():
        # One generator over the modules in order: another order of layers gives another seed model.
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0.0, std, generator=generator)
                module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, std, generator=generator)
                if module.padding_idx is not None:
                    module.weight[module.padding_idx].zero_()
