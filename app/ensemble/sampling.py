"""From a mixture's log-probabilities to a token: penalties, bias, temperature, truncation, and one number drawn.

Everything is a pure function. Order: repetition, presence and frequency penalties and the bias change the scores;
temperature; then min-p, top-k and top-p cut the tail, each on what the one before left, renormalised. A mixture has no
logits, so the scores are its log-probabilities: they are at most 0, and the repetition penalty multiplies them.

Random numbers are a function of seed, position and purpose (``uniform``), so a text does not depend on what else is
drawn, in which order, or on which machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from app.core.errors import ServingError
from app.core.seeding import derive_seed

# 2**53: multiples of its inverse are exact in float64, so no number is rounded up to 1.
_UNITS = float(1 << 53)
_LEAST_TEMPERATURE = 1e-30
"""Smaller ones are 0 in float32."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the defaults draw from the mixture as it is. Temperature 0 takes the most probable token.

    top_k: tokens kept, 0 keeps all; min_p: least probability kept, as a share of the largest. repetition_penalty
    looks at the prompt and the text made so far, the presence and frequency penalties at the text alone.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken."""
        return self.temperature == 0

    @property
    def adjusts(self) -> bool:
        """Whether a penalty or a bias changes the scores."""
        penalties = (self.repetition_penalty - 1, self.presence_penalty, self.frequency_penalty)
        return any(penalties) or bool(self.logit_bias)

    @property
    def truncates(self) -> bool:
        """Whether less than all tokens may be drawn."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0

    @property
    def plain(self) -> bool:
        """Whether a token is drawn from the mixture's own distribution."""
        return self.temperature == 1 and not self.adjusts and not self.truncates

    def require_valid(self, vocab_size: int) -> None:
        """Raise ServingError naming the first setting out of its range."""
        ranges = {
            "max_tokens": (self.max_tokens, 0, float("inf")),
            "temperature": (self.temperature, 0, float("inf")),
            "top_p": (self.top_p, 1e-9, 1),
            "top_k": (self.top_k, 0, float("inf")),
            "min_p": (self.min_p, 0, 1),
            "repetition_penalty": (self.repetition_penalty, 1e-3, 1e3),
            "presence_penalty": (self.presence_penalty, -2, 2),
            "frequency_penalty": (self.frequency_penalty, -2, 2),
        }
        for name, (value, least, most) in ranges.items():
            # NaN fails every comparison, so it is refused here too.
            if not least <= value <= most or value == float("inf"):
                raise ServingError(f"{name} is {value}; choose a number from {least:g} to {most:g}")
        for token, bias in self.logit_bias.items():
            if not 0 <= token < vocab_size or not -100 <= bias <= 100:
                raise ServingError(
                    f"logit_bias gives token {token} a bias of {bias}; ids run from 0 to {vocab_size - 1}, a bias from"
                    " -100 to 100"
                )


class Seen:
    """Tokens that penalties look at: those of the prompt, and how often each was made."""

    def __init__(self, prompt: Iterable[int] = (), made: Iterable[int] = ()) -> None:
        self._prompt = frozenset(prompt)
        self._made = Counter(made)

    def add(self, token: int) -> None:
        """One more token was made."""
        self._made[token] += 1

    def followed_by(self, tokens: Sequence[int]) -> Seen:
        """What would have been seen after ``tokens``; this object stays as it is."""
        longer = Seen()
        longer._prompt, longer._made = self._prompt, self._made + Counter(tokens)
        return longer

    def made(self) -> tuple[list[int], list[int]]:
        """The tokens made, and how often."""
        return list(self._made), list(self._made.values())

    def anywhere(self) -> list[int]:
        """Tokens of the prompt or made, each once."""
        return list(self._prompt | self._made.keys())


def adjusted(log_probs: torch.Tensor, sampling: Sampling, seen: Seen) -> torch.Tensor:
    """(V,) scores after penalties and bias; the input itself where there are none."""
    if not sampling.adjusts:
        return log_probs
    # A copy: the log-probabilities before penalties are reported to whoever asks for them.
    scores = log_probs.clone()
    if sampling.repetition_penalty != 1 and (ids := seen.anywhere()):
        scores[ids] = scores[ids] * sampling.repetition_penalty
    if sampling.presence_penalty or sampling.frequency_penalty:
        ids, times = seen.made()
        if ids:
            counts = torch.tensor(times, dtype=scores.dtype, device=scores.device)
            scores[ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    if sampling.logit_bias:
        bias = torch.tensor(list(sampling.logit_bias.values()), dtype=scores.dtype, device=scores.device)
        scores[list(sampling.logit_bias)] += bias
    return scores


def distribution(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """(V,) probabilities that a token is drawn with, from adjusted scores; temperature above 0."""
    below_highest = scores - scores.max()  # so that no temperature, however small, divides all into -inf
    probabilities = (below_highest / max(sampling.temperature, _LEAST_TEMPERATURE)).softmax(-1)
    if not sampling.truncates:
        return probabilities
    if sampling.min_p > 0:
        probabilities = probabilities * (probabilities >= sampling.min_p * probabilities.max())
    if sampling.top_k or sampling.top_p < 1:
        # Stable: of equal probabilities the lower id is kept, on every machine.
        ordered, places = probabilities.sort(descending=True, stable=True)
        if sampling.top_k:
            ordered[sampling.top_k :] = 0
        # The sum before a token, not with it, so that the token that crosses top_p is kept, and always the first one.
        # float64: a float32 running sum over a whole vocabulary drifts.
        before = (ordered.double().cumsum(-1) - ordered) / ordered.double().sum()
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered * (before < sampling.top_p))
    return probabilities / probabilities.sum()


def choose(log_probs: torch.Tensor, sampling: Sampling, seen: Seen, number: float) -> int:
    """A token from (V,) log-probabilities: the first of the largest scores, or the one that ``number`` picks."""
    scores = adjusted(log_probs, sampling, seen)
    return int(scores.argmax()) if sampling.greedy else pick(distribution(scores, sampling), number)


def draft_chances(log_probs: torch.Tensor, sampling: Sampling, seen: Seen) -> torch.Tensor | None:
    """(V,) probabilities that one expert drafts a token with; None where it takes the most probable one."""
    if sampling.greedy:
        return None
    scores = adjusted(log_probs, sampling, seen)
    return scores.exp() if sampling.plain else distribution(scores, sampling)


def choose_draft(
    log_probs: torch.Tensor, sampling: Sampling, seen: Seen, number: float
) -> tuple[int, torch.Tensor | None]:
    """A token from one expert's (V,) log-probabilities, chosen as the mixture's is; and its ``draft_chances``."""
    chances = draft_chances(log_probs, sampling, seen)
    if chances is None:
        return int(adjusted(log_probs, sampling, seen).argmax()), None
    return pick(chances, number), chances


def pick(probabilities: torch.Tensor, number: float) -> int:
    """The token where the running sum of (V,) weights passes ``number`` (0 to 1) of their total."""
    running = probabilities.double().cumsum(-1)
    place = int(torch.searchsorted(running, running[-1] * number, right=True))
    if place == len(running):  # the product was rounded up to the total
        place = int(probabilities.nonzero()[-1])
    return place


def seed_of_choice(seed: int, choice: int) -> int:
    """The texts of a request that is answered several times have seeds of their own."""
    return derive_seed(seed, "choice", choice)


def uniform(seed: int, purpose: str, position: int) -> float:
    """A number in [0, 1) that depends on the three arguments alone; ``position`` counts the tokens of the text."""
    # Of 63 bits the upper 53, as many as a float holds.
    return (derive_seed(seed, purpose, position) >> 10) / _UNITS
