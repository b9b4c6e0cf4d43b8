"""Cached, batched and in pieces, the numbers are those of each model alone over the whole text."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.core.errors import ServingError
from app.ensemble import local_client
from app.ensemble.client import Feed, Reply
from app.ensemble.engine import Engine
from app.ensemble.generation import Step, generate
from app.ensemble.local_client import LocalClient
from app.ensemble.sampling import Sampling, seed_of_choice, uniform
from app.models.causal import CausalLM
from app.models.registry import build_model
from app.models.stacked import stack_models
from tests.support.tiny_models import TINY, some_rows, tiny_model
from tests.support.toy_experts import Fixed, Letters, Posterior, toy_request

LENGTH = 12


@functools.cache
def models() -> list[CausalLM]:
    """Three stacked ones, and two of other shapes."""
    wide = build_model(replace(TINY, d_model=24), seed=9)
    return [model.eval() for model in (*(tiny_model(seed=n) for n in (1, 2, 3)), tiny_model("llama"), wide)]


def client(slots: int = 4) -> LocalClient:
    return LocalClient([stack_models(models()[:3]), *models()[3:]], slots, LENGTH)


@torch.no_grad()
def expected(expert: int, tokens: list[int]) -> torch.Tensor:
    """(T, V) log-probabilities of the token after each, by the model alone, without a cache."""
    return models()[expert].logits(torch.tensor([tokens]))[0].double().log_softmax(-1)


def check(feed: Feed, reply: Reply, text: list[int]) -> None:
    """A reply to a feed of part of ``text``."""
    whole = expected(feed.expert, text[: feed.start + len(feed.tokens)])
    torch.testing.assert_close(reply.rows.double(), whole[len(whole) - feed.rows :], atol=1e-5, rtol=0)
    scores = [whole[feed.start + i, target] for i, target in enumerate(feed.targets)]
    torch.testing.assert_close(reply.scores.double(), torch.tensor(scores).double(), atol=1e-5, rtol=0)


def test_replies_are_those_of_each_model_alone() -> None:
    texts = some_rows(3, LENGTH).tolist()
    under_test = client()
    calls = [
        [(0, 0, 0, 5, 1, 0), (0, 3, 0, 5, 2, 4), (1, 0, 0, 3, 3, 3), (2, 4, 0, 9, 0, 8), (1, 2, 0, 1, 1, 0)],
        [(0, 0, 5, 6, 1, 0), (0, 3, 5, 8, 3, 0), (1, 0, 3, 8, 2, 5), (2, 4, 9, 10, 1, 0), (0, 1, 0, 6, 6, 5)],
        [(0, 0, 3, 9, 4, 2), (0, 1, 6, 7, 1, 1), (1, 2, 1, 2, 1, 0), (2, 4, 4, 12, 1, 7), (0, 3, 8, 9, 1, 0)],
    ]
    for call in calls:
        feeds = [
            Feed(slot, expert, texts[slot][start:stop], start, rows, texts[slot][start + 1 : start + 1 + scored])
            for slot, expert, start, stop, rows, scored in call
        ]
        for feed, reply in zip(feeds, under_test.extend(feeds), strict=True):
            check(feed, reply, texts[feed.slot])


def test_chances_and_scores_of_a_piece_are_those_of_each_model_alone() -> None:
    texts = some_rows(3, LENGTH).tolist()
    under_test = client()
    for call in ([(0, 0, 0, 6), (1, 0, 0, 3), (0, 2, 0, 6), (2, 3, 0, 9), (1, 4, 0, 2)], [(0, 0, 6, 11), (1, 0, 3, 4)]):
        feeds = []
        for slot, expert, start, stop in call:
            text = texts[slot]
            feeds.append(Feed(slot, expert, text[start:stop], start, stop - start, text[start + 1 : stop + 1]))
        replies = under_test.extend([feed._replace(chances=True) for feed in feeds])
        for feed, reply in zip(feeds, replies, strict=True):
            torch.testing.assert_close(reply.rows.double().sum(-1), torch.ones(feed.rows).double(), atol=1e-5, rtol=0)
            check(feed, reply._replace(rows=reply.rows.log()), texts[feed.slot])


def test_scores_are_made_in_parts_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_client, "_SCORED_AT_ONCE", 3 * TINY.vocab_size)
    text = some_rows(1, LENGTH)[0].tolist()
    feed = Feed(0, 1, text[:-1], 0, 0, text[1:])
    (reply,) = client().extend([feed])
    check(feed, reply, text)


def test_models_of_several_vocabularies_are_refused() -> None:
    other = build_model(replace(TINY, vocab_size=41), seed=1)
    with pytest.raises(ServingError, match=r"vocabularies of \[37, 41\] tokens"):
        LocalClient([models()[0], other], 1, LENGTH)


def reference(weights: list[float], prompt: list[int], sampling: Sampling) -> list[Step]:
    return list(generate(models()[: len(weights)], Fixed(*weights), prompt, sampling, lambda _ids: ""))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_engine_makes_the_texts_of_the_plain_reference(temperature: float) -> None:
    prompts = [row[: 3 + i] for i, row in enumerate(some_rows(4, LENGTH).tolist())]
    weights = [[0.5, 0.3, 0.2], [0.1, 0.0, 0.9], [0.3, 0.3, 0.1, 0.2, 0.1], [1.0]]
    samplings = [Sampling(6, temperature=temperature, top_p=0.95, seed=seed) for seed in range(4)]
    engine = Engine(client())
    for prompt, weight, sampling in zip(prompts, weights, samplings, strict=True):
        engine.submit(toy_request(prompt, lambda w=weight: Fixed(*w), sampling, speculate=temperature == 0, logprobs=0))
    made: dict[int, list[tuple[int, float | None]]] = {}
    while engine.load.running or engine.load.waiting:
        for update in engine.step():
            made.setdefault(update.request, []).extend((step.token, step.log_prob) for step in update.steps)
    for i in range(4):
        steps = reference(weights[i], prompts[i], samplings[i])
        assert [token for token, _ in made[i]] == [step.token for step in steps]
        assert [log_prob for _, log_prob in made[i]] == pytest.approx([step.log_prob for step in steps], abs=1e-5)


NEAR_TIE = 1e-4


def decided(weights: list[float], prompt: list[int], sampling: Sampling) -> tuple[list[int], list[float]]:
    """The tokens by definition, in float64, and by how much each was chosen: over the second best, or from the bounds
    between which the random number falls.
    """
    tokens, margins = list(prompt), []
    for _ in range(sampling.max_tokens):
        p = sum(w * expected(e, tokens)[-1].exp().numpy() for e, w in enumerate(weights) if w)
        if sampling.greedy:
            last, best = np.sort(p)[-2:]
            margins.append(float(best - last))
            tokens.append(int(p.argmax()))
            continue
        number = uniform(seed_of_choice(sampling.seed or 0, 0), "token", len(tokens)) * p.sum()
        bounds = np.concatenate([[0.0], np.cumsum(p)])
        tokens.append(int(np.searchsorted(bounds, number, side="right")) - 1)
        margins.append(float(np.abs(bounds - number).min()))
    return tokens[len(prompt) :], margins


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_of_many_texts_only_near_ties_differ_from_the_definition_and_those_are_few(temperature: float) -> None:
    mixes = [[0.5, 0.3, 0.2], [0.1, 0.0, 0.9], [0.3, 0.3, 0.1, 0.2, 0.1], [1.0], [0.0, 0.0, 0.0, 0.5, 0.5]]
    rows = some_rows(120, LENGTH, seed=7).tolist()
    asked = [
        (mixes[i % 5], row[: 2 + i % 4], Sampling(6, temperature=temperature, seed=i)) for i, row in enumerate(rows)
    ]
    engine = Engine(client())
    numbers = [
        # A text that is drawn by drafts is another draw of the same distribution, so it is compared without them.
        engine.submit(toy_request(prompt, lambda w=mix: Fixed(*w), sampling, speculate=temperature == 0, logprobs=0))
        for mix, prompt, sampling in asked
    ]
    made: dict[int, list[int]] = {}
    while engine.load.running or engine.load.waiting:
        for update in engine.step():
            made.setdefault(update.request, []).extend(step.token for step in update.steps)
    near_ties, wrong = 0, []
    for number, ask in zip(numbers, asked, strict=True):
        tokens, margins = decided(*ask)
        # What follows a token that differs is another text.
        first = next((place for place, (a, b) in enumerate(zip(made[number], tokens, strict=True)) if a != b), None)
        if first is not None and margins[first] < NEAR_TIE:
            near_ties += 1
        elif first is not None:
            wrong.append((number, first, margins[first]))
    assert wrong == [] and near_ties <= 2


def test_scores_of_a_text_are_the_running_posteriors() -> None:
    text = some_rows(1, LENGTH, seed=4)[0].tolist()
    engine = Engine(client())
    engine.submit(toy_request(text, lambda: Posterior(0.5, 0.25, 0.25), Sampling(0), echo=True, logprobs=3))
    updates = []
    while engine.load.running or engine.load.waiting:
        updates += engine.step()
    rows = torch.stack([expected(expert, text) for expert in range(3)])
    evidence = torch.tensor([0.5, 0.25, 0.25]).double().log()
    for i, step in enumerate(updates[0].prompt[1:]):
        mixed = (evidence.softmax(0)[:, None].log() + rows[:, i]).logsumexp(0)
        assert step.log_prob == pytest.approx(float(mixed[text[i + 1]]), abs=1e-5)
        assert [token for token, _ in step.top] == mixed.topk(3).indices.tolist()
        evidence = evidence + rows[:, i, text[i + 1]]
    assert Letters().flush() == ""
