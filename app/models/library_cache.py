"""The library's models over our cache: its attention writes and reads ``KVCache`` at the positions of each row.

Two ways, chosen when the cache is made. Models whose attention takes a mask from outside (Llama-type, GPT-2, OPT,
Gemma, Mistral...) keep keys and values. For all others (positions from the length of the cache, as in BLOOM; masks of
their own, as in GPT-Neo; states that cannot be taken back, as in Mamba) only the tokens are kept and each pass reads
the texts anew: right, and as slow as without a cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, get_layer_types_and_kwargs

from app.models.cache import CachePass, KVCache, LayerShape, pad_rows, visible

# The kinds whose masks are made here; any other kind (chunks, states) reads its texts anew.
_KINDS = ("full_attention", "sliding_attention")
_LENGTHS = (5, 3)  # of the two texts that a new kind of model is tried on


class TokenCache(KVCache):
    """The token ids of each slot in place of keys and values."""

    def __init__(self, slots: int, length: int, device: torch.device) -> None:
        super().__init__([LayerShape(1, 1, 0)], slots, length, torch.int64, device)


class _Layer(CacheLayerMixin):
    """One layer as the library sees it: what it gives is written, what it gets back is all that was written."""

    def __init__(self, past: CachePass, number: int) -> None:
        super().__init__()
        self._past, self._number = past, number

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """The memory is there already."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, H, T, E) new keys and values -> (B, H, N, E) of all positions that are read."""
        self._past.write(self._number, key_states, value_states)
        return self._past.read(self._number)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of keys and position of the first."""
        return self._past.longest, 0

    def get_seq_length(self) -> int:
        """Positions before the new ones in the longest row; our own masks and positions are used instead."""
        return self._past.longest - self._past.positions.shape[1]

    def get_max_length(self) -> int:
        """Most positions there is room for."""
        return self._past.cache.length


def make_library_cache(inner: PreTrainedModel, slots: int, length: int) -> KVCache:
    """A cache that serves this model: keys and values where it can be trusted with them, else its tokens."""
    device = inner.device
    shapes = _layer_shapes(inner)
    if shapes is None or not _agrees(inner, shapes):
        return TokenCache(slots, length, device)
    return KVCache(shapes, slots, length, inner.dtype, device)


def library_hidden(inner: PreTrainedModel, rows: torch.Tensor, past: CachePass) -> torch.Tensor:
    """(B, T, D) hidden states of new tokens that go on in the slots of a cache."""
    if isinstance(past.cache, TokenCache):
        return _read_anew(inner, rows, past)
    layers = Cache(layers=[_Layer(past, number) for number in range(len(past.cache.keys))])
    out: torch.Tensor = inner.base_model(
        input_ids=rows,
        attention_mask=_by_kind(inner, past.visible),
        position_ids=past.positions,
        past_key_values=layers,
        use_cache=True,
    ).last_hidden_state
    return out


def _read_anew(inner: PreTrainedModel, rows: torch.Tensor, past: CachePass) -> torch.Tensor:
    tokens = rows[:, None, :, None]
    past.write(0, tokens, tokens[..., :0])
    # (B, N) ids. Behind a row's newest token stand leftovers of the slot, which a causal model does not see.
    texts = past.read(0)[0][:, 0, :, 0]
    everything: torch.Tensor = inner.base_model(input_ids=texts, use_cache=False).last_hidden_state
    return everything.gather(1, past.positions[..., None].expand(-1, -1, everything.shape[-1]))


def masks_of(inner: PreTrainedModel, rows: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """Causal masks of rows without a cache, whatever positions the tokens are given.

    The library alone would take a jump in the positions for the border between two texts.
    """
    order = torch.arange(rows.shape[1], device=rows.device).expand(len(rows), -1)
    return _by_kind(inner, lambda window: visible(order, rows.shape[1], window))


def _by_kind(
    inner: PreTrainedModel, mask: Callable[[int | None], torch.Tensor]
) -> torch.Tensor | dict[str, torch.Tensor]:
    """One mask for all layers, or one for each kind of layer where a model mixes them."""
    kinds, window = _kinds(inner)
    made = {kind: mask(window if kind == "sliding_attention" else None) for kind in kinds}
    return made if _takes_kinds(inner) else next(iter(made.values()))


def _kinds(inner: PreTrainedModel) -> tuple[set[str], int | None]:
    config = inner.config.get_text_config()
    kinds, settings = get_layer_types_and_kwargs(config)
    windows = {each["sliding_window"] for each in settings if "sliding_window" in each}
    return set(kinds), next(iter(windows), None)


def _takes_kinds(inner: PreTrainedModel) -> bool:
    """Models that list the kinds of their layers look masks up by them; the others take one tensor."""
    return getattr(inner.config.get_text_config(), "layer_types", None) is not None


def _layer_shapes(inner: PreTrainedModel) -> list[LayerShape] | None:
    """What each layer keeps, found by one token; None where that is not keys and values alone."""
    parameters = inspect.signature(inner.base_model.forward).parameters
    if inner.config._attn_implementation != "sdpa" or "position_ids" not in parameters:
        return None
    try:
        if not _kinds(inner)[0] <= set(_KINDS):
            return None
        # Without a configuration it keeps every position of all layers, also of those with a window, as KVCache does.
        found = DynamicCache()
        with torch.no_grad():
            inner.base_model(
                input_ids=torch.zeros(1, 1, dtype=torch.int64, device=inner.device),
                past_key_values=found,
                use_cache=True,
            )
    # Architectures refuse a cache in many ways; each means that this one's texts are read anew.
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    if not all(type(layer) is DynamicLayer and layer.is_initialized for layer in found.layers):
        return None
    return [LayerShape(layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in found.layers]


@torch.no_grad()
def _agrees(inner: PreTrainedModel, shapes: list[LayerShape]) -> bool:
    """Whether two texts of different lengths, fed in pieces to one pass, give what each gives in one row."""
    was_training = inner.training
    # Dropout would make two passes over the same text differ.
    inner.eval()
    most = max(_LENGTHS)
    ids = (torch.arange(2 * most).view(2, most) + 1) % inner.config.get_text_config().vocab_size
    whole = inner.base_model(input_ids=ids.to(inner.device), use_cache=False).last_hidden_state
    cache = KVCache(shapes, 3, most, inner.dtype, inner.device)
    # Slots out of order and with a gap, rows of unequal length: what a served pass looks like.
    chosen = cache.rows([2, 0])
    close = True
    done = [0, 0]
    try:
        for counts in ((2, 1), (2, 1), (1, 1)):
            pieces = [
                ids[row, start : start + n].tolist() for row, (start, n) in enumerate(zip(done, counts, strict=True))
            ]
            rows, positions = pad_rows(pieces, done)
            got = library_hidden(inner, rows.to(inner.device), chosen.begin(positions))
            for row, (start, n) in enumerate(zip(done, counts, strict=True)):
                close &= torch.allclose(got[row, :n], whole[row, start : start + n], rtol=1e-2, atol=1e-2)
            done = [start + n for start, n in zip(done, counts, strict=True)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
        close = False
    inner.train(was_training)
    return close
