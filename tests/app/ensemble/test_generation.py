from __future__ import annotations

import numpy as np
import pytest
import torch

from app.core.errors import ServingError
from app.ensemble.generation import generate, prompt_log_probs
from app.ensemble.routing import RequestRouter, document_weights
from app.ensemble.rules import WeightingSettings
from app.ensemble.sampling import Sampling
from app.models.causal import CausalLM
from tests.support.tiny_models import tiny_model

EXPERTS = [tiny_model(seed=number).eval() for number in (1, 2, 3)]
PROMPT = [0, 5, 9]


class Fixed:
    """The same weights for every token."""

    def __init__(self, *weights: float) -> None:
        self._weights = np.array(weights)
        self.texts: list[str] = []

    def weights(self) -> np.ndarray:
        """What was given."""
        return self._weights

    def running(self) -> np.ndarray:
        """Who has weight."""
        return self._weights > 0

    def missed(self) -> np.ndarray:
        """Nothing."""
        return np.zeros(len(self._weights), dtype=np.int64)

    def catch_up(self, expert: int, log_probs: object) -> None:
        """Never asked for."""
        raise AssertionError

    def observe(self, text: str, token: int, log_probs: object) -> None:
        """Keep the text."""
        self.texts.append(text)


class Preferences:
    """Three experts without preference."""

    unit = "document"
    experts = ("a", "b", "c")

    def context(self, lang: str | None) -> object:
        """Never asked for."""
        raise AssertionError


class Remembering:
    """An expert that runs once, on the prompt: thousands of draws need not compute the same again."""

    def __init__(self, expert: CausalLM) -> None:
        self.context = expert.context
        with torch.no_grad():
            self._logits = expert.logits(torch.tensor([PROMPT]))

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """Those of the prompt."""
        assert rows.tolist() == [PROMPT]
        return self._logits


def text_of(ids: object) -> str:
    return "".join(f"<{token}>" for token in ids)  # type: ignore[attr-defined]


def brute_force(weights: list[float], rows: list[int]) -> torch.Tensor:
    """Mixture of full softmaxes in float64."""
    with torch.no_grad():
        chances = [expert.logits(torch.tensor([rows]))[0, -1].double().softmax(-1) for expert in EXPERTS]
    return sum(weight * chance for weight, chance in zip(weights, chances, strict=True))  # type: ignore[return-value]


def test_greedy_tokens_are_the_most_probable_of_the_mixture() -> None:
    weights = [0.5, 0.2, 0.3]
    rows = list(PROMPT)
    for step in generate(EXPERTS, Fixed(*weights), PROMPT, Sampling(4, temperature=0.0), text_of):
        mixture = brute_force(weights, rows)
        assert step.token == int(mixture.argmax())
        assert step.log_prob == pytest.approx(float(mixture[step.token].log()), rel=1e-6)
        rows.append(step.token)
    assert len(rows) == len(PROMPT) + 4


def test_drawn_tokens_have_the_mixtures_frequencies() -> None:
    weights = [0.6, 0.4, 0.0]
    expected = brute_force(weights, PROMPT).numpy()
    experts = [Remembering(expert) for expert in EXPERTS]
    drawn = [
        next(generate(experts, Fixed(*weights), PROMPT, Sampling(1, seed=seed), text_of)).token for seed in range(3000)
    ]
    found = np.bincount(drawn, minlength=len(expected)) / len(drawn)
    assert np.abs(found - expected).max() < 4 * np.sqrt(expected.max() / len(drawn))


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    def made(seed: int) -> list[int]:
        return [step.token for step in generate(EXPERTS, Fixed(1, 0, 0), PROMPT, Sampling(6, seed=seed), text_of)]

    assert made(1) == made(1) != made(2)


def test_an_expert_without_weight_is_not_run() -> None:
    class Never:
        context = None

        def logits(self, rows: torch.Tensor) -> torch.Tensor:
            raise AssertionError("was run")

    steps = list(generate([EXPERTS[0], Never()], Fixed(1.0, 0.0), PROMPT, Sampling(2, 0.0), text_of))
    assert len(steps) == 2


def test_the_weigher_sees_each_piece_of_text_once() -> None:
    weigher = Fixed(1, 0, 0)
    tokens = [step.token for step in generate(EXPERTS, weigher, PROMPT, Sampling(3, 0.0), text_of)]
    assert weigher.texts[:2] == [f"<{token}>" for token in tokens[:2]]


def test_the_posterior_weighs_by_how_probable_each_expert_held_the_text() -> None:
    scores = prompt_log_probs(EXPERTS, PROMPT)
    for place, expert in enumerate(EXPERTS):
        with torch.no_grad():
            table = expert.logits(torch.tensor([PROMPT]))[0].double().log_softmax(-1)
        assert scores[:, place] == pytest.approx([float(table[0, 5]), float(table[1, 9])])
    weigher = RequestRouter(Preferences(), WeightingSettings(drop_below=0.0), None, "", (), scores)
    rows, total = list(PROMPT), scores.sum(axis=0)
    for step in generate(EXPERTS, weigher, PROMPT, Sampling(3, 0.0), text_of):
        assert step.weights == pytest.approx(np.exp(total) / np.exp(total).sum())
        for place, expert in enumerate(EXPERTS):
            with torch.no_grad():
                total[place] += float(expert.logits(torch.tensor([rows]))[0, -1].double().log_softmax(-1)[step.token])
        rows.append(step.token)


def test_a_dropped_expert_does_not_run_until_it_catches_up() -> None:
    """The weights are those of whole documents, though the dropped experts run at every fourth token only."""
    settings = WeightingSettings(drop_below=0.33, rescore_every=4)
    scores = prompt_log_probs(EXPERTS, PROMPT)
    weigher = RequestRouter(Preferences(), settings, None, "", (), scores)
    steps = list(generate(EXPERTS, weigher, PROMPT, Sampling(9, seed=5), text_of))
    whole = prompt_log_probs(EXPERTS, [*PROMPT, *(step.token for step in steps)])
    expected = document_weights(settings, [len(whole)], whole).weights[len(scores) :]
    assert np.stack([step.weights for step in steps]) == pytest.approx(expected, abs=1e-5)
    assert (expected == 0).any() and (expected[4] > 0).sum() >= 1


def test_a_text_longer_than_the_context_is_refused_with_the_limit() -> None:
    limit = EXPERTS[0].context
    assert limit is not None
    with pytest.raises(ServingError, match=f"context is {limit} tokens.*prompt has 3.*max_tokens is {limit}"):
        list(generate(EXPERTS, Fixed(1, 0, 0), PROMPT, Sampling(limit), text_of))
