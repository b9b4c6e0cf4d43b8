"""What the engine asks of whoever runs the experts: feed tokens into a slot of a bounded cache, get log-probabilities.

The contract is the same for a stacked module in this process, single library models, deployments far away, and the
table that the tests use. A slot holds one sequence; each expert has its own past in it. Feeding tokens from position s
on forgets what the expert had at s and behind, so a rejected draft costs nothing and needs no call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from app.core.errors import ServingError
from app.ensemble.sampling import Sampling, Seen
from app.ensemble.speculation import PassCosts


class Drafting(NamedTuple):
    """Tokens that an expert drafts by itself behind a feed, one for each of ``numbers`` (uniform in [0, 1)).

    seen: what penalties look at before the first of them.
    """

    sampling: Sampling
    seen: Seen
    numbers: Sequence[float]


class Feed(NamedTuple):
    """Tokens for one expert in one slot.

    start: position of the first token; the expert has fed positions 0 to start - 1 of this slot before. rows: for how
    many of the last tokens the distribution of the token after them is wanted. targets: the tokens that came after the
    first ``len(targets)`` ones, whose log-probabilities are wanted. drafting: of a client that drafts ahead; the expert
    reads its drafts but for the last, and the rows are those that each was chosen from. chances: rows are probabilities
    instead, which a mixture sums; only where a row and a target are wanted of every token.
    """

    slot: int
    expert: int
    tokens: Sequence[int]
    start: int
    rows: int = 1
    targets: Sequence[int] = ()
    drafting: Drafting | None = None
    chances: bool = False


class Reply(NamedTuple):
    """rows: (``feed.rows``, V) log-probabilities in nats, or probabilities (``feed.chances``), float32; scores:
    (len(targets),) log-probabilities, float32, on the CPU.

    drafted: tokens, where ``feed.drafting`` asks for some.
    """

    rows: torch.Tensor
    scores: torch.Tensor
    drafted: Sequence[int] = ()


@dataclass(frozen=True)
class Capacity:
    """experts: k; vocab_size: V; slots: sequences that the cache holds at once; length: tokens of each at most."""

    experts: int
    vocab_size: int
    slots: int
    length: int


class ExpertClient(Protocol):
    """Runs experts over slots of a bounded cache."""

    @property
    def capacity(self) -> Capacity:
        """What fits."""

    @property
    def costs(self) -> PassCosts:
        """What passes cost here."""

    @property
    def drafts_ahead(self) -> bool:
        """Whether an expert drafts several tokens in one call, because a call costs more than a pass."""

    def extend(self, feeds: Sequence[Feed]) -> list[Reply]:
        """Feed tokens, each (slot, expert) at most once a call, in one go; replies in the order of ``feeds``.

        The numbers of a reply depend on its own slot alone, but for rounding.
        """

    def drop(self, slot: int) -> None:
        """The slot's sequence has ended; the next one starts at position 0."""


def require_room(capacity: Capacity, prompt: int, max_tokens: int) -> None:
    """Raise ServingError if a prompt and ``max_tokens`` never fit a slot."""
    if prompt + max_tokens > capacity.length:
        raise ServingError(
            f"the experts' context is {capacity.length} tokens, but the prompt has {prompt} (start token included) and"
            f" max_tokens is {max_tokens}; shorten either"
        )
