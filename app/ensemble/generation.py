"""Text from an ensemble, token by token: p(x_t | x_<t) = sum_e alpha_e p_e(x_t | x_<t).

The plain form: every step reads the whole text again (no cache), one request at a time. The engine (``engine``) makes
the same texts fast; this is what it is held against.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.errors import ServingError
from app.core.records import FloatArray
from app.ensemble.mixing import mix_log_probs_torch
from app.ensemble.requests import Weigher
from app.ensemble.sampling import Sampling, Seen, choose, seed_of_choice, uniform


class Expert(Protocol):
    """What generation asks of a model."""

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, T) token ids -> (B, T, V)."""

    @property
    def context(self) -> int | None:
        """Longest row in tokens."""


@dataclass(frozen=True)
class Step:
    """One token that was generated, with the experts' weights (k,) that it was drawn with."""

    token: int
    log_prob: float
    weights: FloatArray


def generate(
    experts: Sequence[Expert],
    weigher: Weigher,
    prompt: Sequence[int],
    sampling: Sampling,
    text_of: Callable[[Sequence[int]], str],
) -> Iterator[Step]:
    """Tokens until ``sampling.max_tokens``; the caller stops at an end token by not asking for more.

    prompt: ids with the start token first, already observed by ``weigher``. text_of: text of the tokens so far.
    Raises ServingError if the prompt and ``max_tokens`` are longer than the experts' context.
    """
    require_room(experts, prompt, sampling)
    # As the engine seeds choice 0, so that both draw the same text.
    seed = seed_of_choice(secrets.randbits(62) if sampling.seed is None else sampling.seed, 0)
    made: list[int] = []
    text = ""
    for _ in range(sampling.max_tokens):
        for place, missed in enumerate(weigher.missed().tolist()):
            if missed:
                weigher.catch_up(place, prompt_log_probs([experts[place]], [*prompt, *made])[-missed:, 0])
        # Only after all have caught up: the weigher gives no weights while an expert lags behind.
        weights, running = weigher.weights(), weigher.running()
        log_probs = _next_log_probs(experts, running, torch.tensor([[*prompt, *made]]))
        mixed = mix_log_probs_torch(log_probs, torch.from_numpy(weights)[:, None], dim=0)
        token = choose(mixed, sampling, Seen(prompt, made), uniform(seed, "token", len(prompt) + len(made)))
        made.append(token)
        yield Step(token, float(mixed[token]), weights)
        longer = text_of(made)
        weigher.observe(longer[len(text) :], token, np.where(running, log_probs[:, token].numpy(), np.nan))
        text = longer


def require_room(experts: Sequence[Expert], prompt: Sequence[int], sampling: Sampling) -> None:
    """Raise ServingError if the prompt and ``max_tokens`` are longer than the experts' context."""
    longest = min((expert.context for expert in experts if expert.context is not None), default=None)
    if longest is not None and len(prompt) + sampling.max_tokens > longest:
        raise ServingError(
            f"the experts' context is {longest} tokens, but the prompt has {len(prompt)} (start token included) and"
            f" max_tokens is {sampling.max_tokens}; shorten either"
        )


@torch.no_grad()
def prompt_log_probs(experts: Sequence[Expert], prompt: Sequence[int]) -> FloatArray:
    """(T - 1, k) log-probability of each prompt token after the first under each expert, float64.

    The prompt must fit the experts' context (``require_room``).
    """
    rows = torch.tensor([prompt])
    columns = []
    for expert in experts:
        log_probs = expert.logits(rows)[0, :-1].double().log_softmax(-1)
        columns.append(log_probs.gather(1, rows[0, 1:, None])[:, 0].numpy())
    scores: FloatArray = np.stack(columns, axis=1)
    return scores


@torch.no_grad()
def _next_log_probs(experts: Sequence[Expert], running: NDArray[np.bool_], rows: torch.Tensor) -> torch.Tensor:
    """(k, V) of the next token, float64; an expert that need not run is not run."""
    found: list[torch.Tensor | None] = [
        expert.logits(rows)[0, -1].double().log_softmax(-1) if runs else None
        for expert, runs in zip(experts, running.tolist(), strict=True)
    ]
    # Rows keep their places, so that row e meets weight e; -inf has no share in the mixture.
    nothing = torch.full_like(next(row for row in found if row is not None), -torch.inf)
    return torch.stack([nothing if row is None else row for row in found])
