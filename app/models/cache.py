"""Keys and values of past tokens, kept so that a token is computed once: a cache of bounded size, written by position.

A cache has ``slots`` rows of ``length`` positions. A pass over (B, T) new tokens names the slot of each row and the
position of each token::

    cache = model.new_cache(slots=4, length=128)
    hidden = model.hidden(rows, positions, cache.rows([2, 0]))      # row 0 goes on in slot 2, row 1 in slot 0

Before attention a token at position p is written at p of its slot; then it sees positions 0..p of that slot, and
nothing above. So nothing else has to be remembered:

- rows of different lengths share one pass: each has positions of its own;
- a text may be fed in pieces of any size, and several tokens of a row in one pass (a draft to be verified);
- taking tokens back is going on from an earlier position: what stands above is overwritten before it can be seen;
- a slot is given to another text by starting it at position 0;
- a row with fewer tokens than T is padded by its last token at its last position again (``pad_rows``), which writes
  the same numbers twice.

A caller must have written positions 0..p-1 of a slot before it asks for p. Passes carry no gradient: run them under
``torch.inference_mode`` or ``torch.no_grad``. Nothing is copied but the new tokens: attention reads the cache in place.

Shape legend: B rows of a pass, T new tokens of each, H heads, G heads that share one head of keys, N positions
read, E head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class LayerShape:
    """Heads of keys and values in one layer, and the widths of a key and of a value."""

    heads: int
    key_width: int
    value_width: int


class KVCache:
    """Zeroed memory for ``slots`` texts of at most ``length`` tokens; made by ``CausalLM.new_cache``.

    ``keys`` and ``values`` hold one tensor (slots, H, length, E) a layer.
    """

    def __init__(
        self, layers: Sequence[LayerShape], slots: int, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.slots, self.length, self.device = slots, length, device
        with torch.inference_mode(False):  # tensors made in inference mode could not be written outside of it
            # Zeroed, not empty: a masked position has weight 0, and 0 times a stray NaN would be NaN.
            self.keys = [
                torch.zeros(slots, layer.heads, length, layer.key_width, dtype=dtype, device=device) for layer in layers
            ]
            self.values = [
                torch.zeros(slots, layer.heads, length, layer.value_width, dtype=dtype, device=device)
                for layer in layers
            ]

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, whether used or not."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def rows(self, slots: Sequence[int]) -> CacheRows:
        """The slots of a pass, one for each row and none twice. Raises IndexError for one that does not exist."""
        if not all(0 <= slot < self.slots for slot in slots) or len(set(slots)) < len(slots):
            raise IndexError(f"slots {list(slots)} must be different and from 0 to {self.slots - 1}")
        return CacheRows(self, tuple(slots))


@dataclass(frozen=True)
class CacheRows:
    """Some slots of a cache, one for each row of a pass."""

    cache: KVCache
    slots: tuple[int, ...]

    def begin(self, positions: torch.Tensor) -> CachePass:
        """Plan a pass over tokens at these positions, (B, T) int64. Raises as ``CachePass``."""
        return CachePass(self.cache, self.slots, positions)


class CachePass:
    """One pass: where its tokens are written and what each of them reads; used layer by layer.

    positions: (B, T) int64; on the CPU no device has to be waited for. Raises IndexError for a position outside of
    the cache, ValueError for another number of rows than slots or where gradients are recorded.
    """

    def __init__(self, cache: KVCache, slots: Sequence[int], positions: torch.Tensor) -> None:
        if positions.dim() != 2 or len(positions) != len(slots):
            raise ValueError(f"{len(slots)} slots need positions of shape ({len(slots)}, T), not {positions.shape}")
        if torch.is_grad_enabled():
            raise ValueError("a pass over a cache carries no gradient; run it under torch.inference_mode()")
        table: list[list[int]] = positions.tolist()
        if min(map(min, table)) < 0 or max(map(max, table)) >= cache.length:
            raise IndexError(f"positions must be from 0 to {cache.length - 1}, the cache's length; {table}")
        self.cache, self.slots = cache, slots
        self.positions = positions.to(cache.device, non_blocking=True)
        self._parts = [_Part(rows, chosen, table[rows], self.positions[rows]) for rows, chosen in self._split(slots)]
        self._slots = None if all(part.block for part in self._parts) else self._index()

    def _split(self, slots: Sequence[int]) -> list[tuple[slice, slice | torch.Tensor]]:
        """On the CPU views with a constant step, which need no copy; on a device one gather costs less than calls."""
        runs = runs_of_constant_step(slots)
        if len(runs) == 1 or self.cache.device.type == "cpu":
            return [(rows, step) for rows, step in runs]
        return [(slice(0, len(slots)), torch.tensor(slots, device=self.cache.device))]

    def _index(self) -> torch.Tensor:
        return torch.tensor(self.slots, device=self.cache.device)[:, None]

    @property
    def longest(self) -> int:
        """N: positions that are read, of all rows."""
        return max(part.longest for part in self._parts)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store the new tokens of one layer. keys, values: (B, H, T, E)."""
        for store, new in ((self.cache.keys[layer], keys), (self.cache.values[layer], values)):
            if self._slots is None:
                for part in self._parts:
                    store[part.slots, :, part.block] = new[part.rows]
            else:
                # Indices on both sides of a slice put their axes first: (B, T, H, E).
                store[self._slots, :, self.positions] = new.transpose(1, 2)

    def attend(self, layer: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Write one layer's new tokens, then softmax(q k / sqrt(E)) v over what each may see.

        query: (B, G·H, T, E); keys, values: (B, H, T, E). Returns (B, G·H, T, E).
        """
        self.write(layer, keys, values)
        stored, held = self.cache.keys[layer], self.cache.values[layer]
        outputs = [part.attend(query[part.rows], stored, held) for part in self._parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def read(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, H, N, E) keys and values of all rows; a copy where the slots have no constant step."""
        runs = runs_of_constant_step(self.slots)
        chosen = runs[0][1] if len(runs) == 1 else self._index()[:, 0]
        return self.cache.keys[layer][chosen, :, : self.longest], self.cache.values[layer][chosen, :, : self.longest]

    def visible(self, window: int | None = None) -> torch.Tensor:
        """(B, 1, T, N) bool: which positions each token sees; only the last ``window`` of them, itself included."""
        return visible(self.positions, self.longest, window)


class _Part:
    """Rows of a pass whose slots can be read at once."""

    def __init__(
        self,
        rows: slice,
        slots: slice | torch.Tensor,
        table: Sequence[Sequence[int]],
        positions: torch.Tensor,
    ) -> None:
        self.rows, self.slots = rows, slots
        first = table[0]
        self.longest = max(map(max, table)) + 1
        consecutive = list(first) == list(range(first[0], first[0] + len(first)))
        equal = consecutive and all(list(row) == list(first) for row in table)
        self.block = slice(first[0], first[0] + len(first)) if equal else None
        self.from_start = equal and first[0] == 0
        # A token at the last position that is read sees them all: no mask has to be made or read.
        self._sees_all = equal and len(first) == 1
        self._positions = positions
        self._mask: torch.Tensor | None = None

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """query: (B, G·H, T, E) of these rows; keys, values: the whole layer. Returns (B, G·H, T, E)."""
        stored = keys[self.slots, :, : self.longest], values[self.slots, :, : self.longest]
        heads, shared = query.shape[1], query.shape[1] // keys.shape[1]
        # torch aligns is_causal to the first key, which is right only for rows that begin at position 0.
        if self.from_start:
            # Repeated here: is_causal needs a query for each key, so heads cannot stand side by side as below.
            if shared > 1:
                stored = stored[0].repeat_interleave(shared, 1), stored[1].repeat_interleave(shared, 1)
            return F.scaled_dot_product_attention(query, *stored, is_causal=query.shape[2] > 1)
        mask = None if self._sees_all else self._made_mask(query.dtype)
        if shared == 1:
            return F.scaled_dot_product_attention(query, *stored, attn_mask=mask)
        # heads that share keys stand side by side as further queries: the keys are read once, not repeated
        time = query.shape[2]
        packed = query.reshape(len(query), heads // shared, shared * time, -1)
        mask = None if mask is None else mask.repeat(1, 1, shared, 1)
        return F.scaled_dot_product_attention(packed, *stored, attn_mask=mask).reshape(len(query), heads, time, -1)

    def _made_mask(self, dtype: torch.dtype) -> torch.Tensor:
        """(B, 1, T, N): 0 where a token sees a position and -inf where not; made once for all layers."""
        if self._mask is None:
            seen = visible(self._positions, self.longest, None)
            # Not bool: attention would turn such a mask into this one again in every layer.
            self._mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
        return self._mask


def begin_pass(rows: CacheRows | None, positions: torch.Tensor | None) -> CachePass | None:
    """The pass of a model's ``hidden``; None without a cache. Raises ValueError for a cache without positions."""
    if rows is None:
        return None
    if positions is None:
        raise ValueError("a pass over a cache needs the positions of its tokens")
    return rows.begin(positions)


def visible(positions: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """(B, 1, T, length) bool: which positions tokens at ``positions`` (B, T) see; see ``CachePass``."""
    places, own = torch.arange(length, device=positions.device), positions[:, None, :, None]
    seen = places <= own
    return seen if window is None else seen & (places > own - window)


def pad_rows(tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids and (B, T) positions of rows of different lengths, for one pass over a cache.

    Row b holds ``tokens[b]`` (at least one) at positions ``starts[b]``, ``starts[b] + 1``...; behind its end its last
    token stands again at its last position. Hidden states there are copies of the last token's, to be left out.
    """
    most = max(map(len, tokens))
    rows = [[*row, *[row[-1]] * (most - len(row))] for row in tokens]
    places = [[start + min(t, len(row) - 1) for t in range(most)] for row, start in zip(tokens, starts, strict=True)]
    return torch.tensor(rows), torch.tensor(places)


def runs_of_constant_step(slots: Sequence[int]) -> list[tuple[slice, slice]]:
    """Slots cut into runs of a constant step upwards: which rows, and the slice of the cache that holds them."""
    found: list[tuple[slice, slice]] = []
    start = 0
    while start < len(slots):
        stop, step = start + 1, 1
        if stop < len(slots) and slots[stop] > slots[start]:
            step = slots[stop] - slots[start]
            while stop < len(slots) and slots[stop] - slots[stop - 1] == step:
                stop += 1
        found.append((slice(start, stop), slice(slots[start], slots[stop - 1] + 1, step)))
        start = stop
    return found
