"""Experts whose distribution is a known function of the last two tokens, a client over them, the mixture by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from app.ensemble.client import Capacity, Feed, Reply
from app.ensemble.requests import Request
from app.ensemble.sampling import Sampling
from app.ensemble.speculation import PassCosts

VOCAB = 6


class ToyExperts:
    """k tables of log-probabilities (k, V, V, V): expert, token before last, last token, next token."""

    def __init__(self, k: int = 3, sharpness: float = 1.5, alike: float = 0.7, seed: int = 5) -> None:
        random = np.random.default_rng(seed)
        shared = random.normal(size=(1, VOCAB, VOCAB, VOCAB))
        own = random.normal(size=(k, VOCAB, VOCAB, VOCAB))
        logits = sharpness * (alike * shared + (1 - alike) * own)
        self.tables = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def log_probs(self, tokens: Sequence[int]) -> np.ndarray:
        """(k, V) of the token after ``tokens``."""
        before = tokens[-2] if len(tokens) > 1 else 0
        row: np.ndarray = self.tables[:, before, tokens[-1]]
        return row


class ToyClient:
    """Keeps what each expert has read in each slot, so that a wrong position gives wrong numbers or an error."""

    def __init__(self, experts: ToyExperts, slots: int = 4, length: int = 64, costs: PassCosts | None = None) -> None:
        self.experts = experts
        self.capacity = Capacity(len(experts.tables), VOCAB, slots, length)
        self.costs = costs or PassCosts(per_token=0.05)
        self.drafts_ahead = False
        self.read: dict[tuple[int, int], list[int]] = {}
        self.calls: list[list[Feed]] = []

    def extend(self, feeds: Sequence[Feed]) -> list[Reply]:
        """See ExpertClient."""
        self.calls.append(list(feeds))
        assert len({(feed.slot, feed.expert) for feed in feeds}) == len(feeds)
        return [self._reply(feed) for feed in feeds]

    def drop(self, slot: int) -> None:
        """See ExpertClient."""
        self.read = {place: tokens for place, tokens in self.read.items() if place[0] != slot}

    def _reply(self, feed: Feed) -> Reply:
        past = self.read.get((feed.slot, feed.expert), [])
        assert feed.tokens and feed.start <= len(past), "a gap in what the expert has read"
        tokens = [*past[: feed.start], *feed.tokens]
        assert len(tokens) <= self.capacity.length
        self.read[feed.slot, feed.expert] = tokens
        rows = [self.experts.log_probs(tokens[: i + 1])[feed.expert] for i in range(feed.start, len(tokens))]
        scores = [row[target] for row, target in zip(rows, feed.targets, strict=False)]
        newest = np.array(rows[len(rows) - feed.rows :]).reshape(feed.rows, VOCAB)
        newest = np.exp(newest) if feed.chances else newest
        return Reply(torch.from_numpy(newest).float(), torch.tensor(scores).float())


class Fixed:
    """The same weights for every token."""

    needs_scores = False

    def __init__(self, *weights: float) -> None:
        self._weights = np.array(weights)
        self.texts: list[str] = []

    def weights(self) -> np.ndarray:
        """What was given."""
        return self._weights

    def running(self) -> np.ndarray:
        """Those with weight."""
        return self._weights > 0

    may_run = running

    def missed(self) -> np.ndarray:
        """Nothing."""
        return np.zeros(len(self._weights), dtype=np.int64)

    def catch_up(self, expert: int, log_probs: np.ndarray) -> None:
        """Never asked."""
        raise AssertionError

    def observe(self, text: str, token: int, log_probs: np.ndarray) -> None:
        """Keep the text."""
        self.texts.append(text)


class Posterior(Fixed):
    """The running posterior from a prior, written once more by hand."""

    needs_scores = True

    def observe(self, text: str, token: int, log_probs: np.ndarray) -> None:
        """Bayes' rule."""
        assert not np.isnan(log_probs[self._weights > 0]).any()
        weights = self._weights * np.exp(np.where(self._weights > 0, log_probs, 0))
        self._weights = weights / weights.sum()
        self.texts.append(text)


class Letters:
    """Token t is the letter with that number."""

    def step(self, token: int) -> str:
        """The letter."""
        return chr(ord("a") + token)

    def flush(self) -> str:
        """Nothing is ever left."""
        return ""


def toy_request(prompt: Sequence[int], weigher: Callable[[], object], sampling: Sampling, **more: object) -> Request:
    """A request to the first experts, as many as the weigher weighs."""
    k = len(weigher().weights())  # type: ignore[attr-defined]
    return Request(prompt, range(k), lambda _tokens: weigher(), Letters, sampling, **more)  # type: ignore[arg-type]


def mixture(experts: ToyExperts, weigher: object, tokens: Sequence[int]) -> np.ndarray:
    """(V,) probabilities of the next token, from the definition."""
    weights: np.ndarray = weigher.weights()  # type: ignore[attr-defined]
    k = len(weights)
    return (weights[:, None] * np.exp(experts.log_probs(tokens)[:k])).sum(0)


def shown(experts: ToyExperts, weigher: object, tokens: Sequence[int]) -> object:
    """The weigher after it has seen ``tokens``."""
    for i in range(1, len(tokens)):
        weigher.observe("", tokens[i], experts.log_probs(tokens[:i])[: len(weigher.weights()), tokens[i]])  # type: ignore[attr-defined]
    return weigher
