"""Who reads a prompt, and that its scores are the mixture's whoever does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.ensemble.engine import Engine
from app.ensemble.prompt import PIECE
from app.ensemble.requests import Request, Update
from app.ensemble.routing import RequestRouter
from app.ensemble.rules import WeightingSettings
from app.ensemble.sampling import Sampling
from app.ensemble.text_output import Step
from tests.support.toy_experts import VOCAB, Fixed, ToyClient, ToyExperts, toy_request

TOYS = ToyExperts(alike=0.3)
LONG = np.random.default_rng(2).integers(0, VOCAB, size=3 * PIECE + 40).tolist()
SCORED = {"echo": True, "logprobs": 2}


def answered(request: Request, toys: ToyExperts = TOYS) -> tuple[list[Step], ToyClient]:
    """All steps of the only text, the prompt's first; and the client that ran the experts."""
    client = ToyClient(toys, slots=1, length=len(LONG) + 20)
    engine, updates = Engine(client), list[Update]()
    engine.submit(request)
    while engine.load.running or engine.load.waiting:
        updates += engine.step()
    assert updates[-1].error is None
    return [step for update in updates for step in (*update.prompt, *update.steps)], client


def fed(client: ToyClient) -> set[int]:
    return {feed.expert for call in client.calls for feed in call}


def check(steps: Sequence[Step], weights: Sequence[np.ndarray], toys: ToyExperts = TOYS) -> None:
    """Log-probability, weights and the two most probable tokens of each step but the first, from the definition."""
    tokens = [step.token for step in steps]
    for i in range(1, len(tokens)):
        p = weights[i] @ np.exp(toys.log_probs(tokens[:i])[: len(weights[i])])
        assert steps[i].log_prob == pytest.approx(np.log(p[tokens[i]]), abs=1e-5)
        np.testing.assert_allclose(steps[i].weights, weights[i], atol=1e-6)
        best = np.argsort(-p)[:2]
        assert [token for token, _ in steps[i].top] == best.tolist()
        np.testing.assert_allclose([value for _, value in steps[i].top], np.log(p[best]), atol=1e-5)


class Named:
    """What a RequestRouter asks of an allocator whose distances nobody looks at."""

    unit = "document"
    experts = ("a", "b", "c")


def routed(settings: WeightingSettings, prior: Sequence[float], sampling: Sampling) -> Request:
    request = toy_request(LONG, lambda: Fixed(*prior), sampling, **SCORED)
    return replace(
        request,
        weigher=lambda tokens: RequestRouter(Named(), settings, None, "", tokens, None, prior),
    )


@pytest.mark.parametrize("rule", ["posterior", "bayes", "fixed"])
def test_an_expert_that_can_never_have_weight_reads_nothing(rule: str) -> None:
    prior = np.array([0.5, 0.0, 0.5])
    settings = WeightingSettings(rule, drop_below=0.0)
    steps, client = answered(routed(settings, prior.tolist(), Sampling(6, seed=1)))
    assert fed(client) == {0, 2}
    tokens, weights, evidence = [step.token for step in steps], [prior], np.zeros(3)
    for i in range(1, len(tokens)):
        weights.append(prior * np.exp(evidence - evidence.max()))
        weights[-1] = weights[-1] / weights[-1].sum()
        scores = TOYS.log_probs(tokens[:i])[:, tokens[i]]
        evidence = {"posterior": evidence + scores, "bayes": scores, "fixed": np.zeros(3)}[rule]
    check(steps, weights)


@pytest.mark.parametrize(("again", "all_read"), [(0, False), (64, True)])
def test_who_was_dropped_reads_on_only_where_it_may_come_back(again: int, all_read: bool) -> None:
    settings = WeightingSettings("posterior", drop_below=0.2, rescore_every=again)
    _, client = answered(routed(settings, [0.45, 0.35, 0.2], Sampling(1, seed=1)))
    ends = {
        expert: max(f.start + len(f.tokens) for c in client.calls for f in c if f.expert == expert)
        for expert in (0, 1, 2)
    }
    assert max(ends.values()) == len(LONG)
    assert (min(ends.values()) >= len(LONG) - 1) == all_read


class Turns(Fixed):
    """All weight on one expert after the other, each for ``stay`` tokens; the third is never asked."""

    def __init__(self, stay: int) -> None:
        super().__init__(1.0, 0.0, 0.0)
        self.stay, self.seen = stay, 0

    def weights(self) -> np.ndarray:
        """By how many tokens were seen."""
        row = np.zeros(3)
        row[self.seen // self.stay % 2] = 1.0
        return row

    def running(self) -> np.ndarray:
        """Who has weight."""
        return self.weights() > 0

    def observe(self, text: str, token: int, log_probs: np.ndarray) -> None:
        """One more."""
        self.seen += 1


@pytest.mark.parametrize("stay", [PIECE, 2 * PIECE, 100])
def test_an_expert_that_gets_weight_inside_a_prompt_has_read_what_stands_before(stay: int) -> None:
    steps, client = answered(toy_request(LONG, lambda: Turns(stay), Sampling(12, seed=3), **SCORED))
    check(steps, [np.eye(3)[max(0, i - 1) // stay % 2] for i in range(len(steps))])
    assert fed(client) == {0, 1}
    first = client.calls[0]
    assert [feed.expert for feed in first] == ([0] if stay >= PIECE else [0, 1])


def languages_apart() -> ToyExperts:
    """The first expert writes the first half of the letters, the second the other half; each rarely anything else."""
    toys = ToyExperts(k=2)
    own = np.arange(VOCAB) // (VOCAB // 2) == np.arange(2)[:, None]
    chances = np.where(own, 0.9, 0.1) / (VOCAB // 2)
    toys.tables = np.broadcast_to(np.log(chances)[:, None, None, :], toys.tables.shape)
    return toys


@pytest.mark.parametrize(("forgetting", "back"), [(1.0, 192), (0.9, 128)])
def test_an_expert_that_was_dropped_comes_back_some_time_after_its_language_does(forgetting: float, back: int) -> None:
    """After 70 tokens of the first language the posterior wants as many of the second, unless it forgets; and whoever
    was dropped is looked at when the text is a multiple of 64 tokens long.
    """
    settings = WeightingSettings("posterior", forgetting=forgetting, drop_below=1e-4, rescore_every=64)
    text = [t % 3 for t in range(71)] + [3 + t % 3 for t in range(189)]
    request = toy_request(text, lambda: Fixed(0.5, 0.5), Sampling(4, temperature=0.0), **SCORED)

    class Two(Named):
        experts = ("a", "b")

    request = replace(
        request,
        weigher=lambda tokens: RequestRouter(Two(), settings, None, "", tokens),
    )
    steps, _ = answered(request, languages_apart())
    of_second = np.array([step.weights[1] for step in steps])  # place i: with i - 1 tokens observed
    assert (of_second[8 : back + 1] == 0).all()
    assert (of_second[back + 1 : back + 20] > 0.9).all() and steps[-1].token >= 3
