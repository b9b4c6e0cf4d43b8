"""The engine over toy experts, held against the definition of the mixture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from app.core.errors import Overloaded, ServingError
from app.ensemble.engine import Engine, Limits
from app.ensemble.prompt import PIECE
from app.ensemble.requests import Request, Update
from app.ensemble.routing import RequestRouter, document_weights
from app.ensemble.rules import WeightingSettings
from app.ensemble.sampling import Sampling
from app.ensemble.speculation import PassCosts
from tests.support.toy_experts import VOCAB, Fixed, Posterior, ToyClient, ToyExperts, mixture, shown, toy_request

TOYS = ToyExperts(alike=0.3)
TEXTS = 1000
PROMPT = [0, 3, 1, 4]
DRAFT_ALWAYS = PassCosts(per_expert=4.0, per_token=0.0)
SETTINGS = {
    "plain": Sampling(3),
    "temperature": Sampling(3, temperature=0.6),
    "truncated": Sampling(3, temperature=1.3, top_k=5, top_p=0.9, min_p=0.02),
    "penalised": Sampling(3, presence_penalty=0.7, frequency_penalty=0.4, repetition_penalty=1.3, logit_bias={2: 0.8}),
}


def finished(engine: Engine, requests: Iterable[Request]) -> dict[tuple[int, int], list[Update]]:
    """Updates of all texts, by request and choice, when nothing is left to do."""
    updates: dict[tuple[int, int], list[Update]] = {}
    for request in requests:
        engine.submit(request)
    while engine.load.running or engine.load.waiting:
        for update in engine.step():
            updates.setdefault((update.request, update.choice), []).append(update)
    return updates


def tokens_of(updates: list[Update]) -> list[int]:
    return [step.token for update in updates for step in update.steps]


def greedy_reference(weigher: Fixed, prompt: list[int], count: int) -> list[int]:
    shown(TOYS, weigher, prompt)
    tokens = list(prompt)
    for _ in range(count):
        token = int(mixture(TOYS, weigher, tokens).argmax())
        weigher.observe("", token, TOYS.log_probs(tokens)[: len(weigher.weights()), token])
        tokens.append(token)
    return tokens[len(prompt) :]


def adjusted_by_hand(p: np.ndarray, sampling: Sampling, made: list[int]) -> np.ndarray:
    """What a token is drawn from, written from the definitions."""
    scores = np.log(p)
    for token in set(PROMPT) | set(made):
        scores[token] *= sampling.repetition_penalty
    for token in set(made):
        scores[token] -= sampling.presence_penalty + sampling.frequency_penalty * made.count(token)
    for token, bias in sampling.logit_bias.items():
        scores[token] += bias
    q = np.exp(scores / sampling.temperature)
    q /= q.sum()
    q = np.where(q >= sampling.min_p * q.max(), q, 0)
    order = np.argsort(-q, kind="stable")
    if sampling.top_k:
        q[order[sampling.top_k :]] = 0
    q /= q.sum()
    before = np.cumsum(q[order]) - q[order]
    q[order[before >= sampling.top_p]] = 0
    return q / q.sum()


def joint_by_hand(weigher: Callable[[], Fixed], sampling: Sampling) -> np.ndarray:
    """(V^3,) probability of each text of three tokens, by going through all of them."""
    joint = []
    for text in itertools.product(range(VOCAB), repeat=3):
        chance = 1.0
        for i, token in enumerate(text):
            tokens = [*PROMPT, *text[:i]]
            p = mixture(TOYS, shown(TOYS, weigher(), tokens), tokens)
            chance *= adjusted_by_hand(p, sampling, list(text[:i]))[token]
        joint.append(chance)
    return np.array(joint)


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """p-value, cells with an expectation below 5 put together."""
    expected = expected * counts.sum()
    rare = expected < 5
    assert counts[expected < 1e-9].sum() == 0
    seen, hoped = [*counts[~rare], counts[rare].sum()], [*expected[~rare], expected[rare].sum()]
    if hoped[-1] < 1e-9:
        seen, hoped = seen[:-1], hoped[:-1]
    return float(chisquare(seen, hoped).pvalue)


def drawn(weigher: Callable[[], Fixed], sampling: Sampling, costs: PassCosts, **more: object) -> np.ndarray:
    """(V^3,) how often each text of three tokens was made, of ``TEXTS``."""
    engine = Engine(ToyClient(TOYS, slots=50, costs=costs), Limits(waiting=TEXTS, n=50))
    requests = [
        toy_request(PROMPT, weigher, Sampling(**{**vars(sampling), "seed": seed}), n=50, **more)
        for seed in range(TEXTS // 50)
    ]
    counts = np.zeros((VOCAB,) * 3, dtype=int)
    for updates in finished(engine, requests).values():
        counts[tuple(tokens_of(updates))] += 1
    assert counts.sum() == TEXTS
    return counts.ravel()


CASES: dict[str, tuple[Callable[[], Fixed], str, bool]] = {
    **{f"posterior, {setting}": (lambda: Posterior(0.4, 0.3, 0.3), setting, True) for setting in SETTINGS},
    "fixed weights, plain": (lambda: Fixed(0.5, 0.3, 0.2), "plain", True),
    "posterior, no drafts": (lambda: Posterior(0.4, 0.3, 0.3), "plain", False),
}


@pytest.mark.parametrize("case", CASES)
def test_three_tokens_have_the_mixtures_joint_distribution(case: str) -> None:
    weigher, setting, speculate = CASES[case]
    counts = drawn(weigher, SETTINGS[setting], DRAFT_ALWAYS, speculate=speculate, one_expert=False)
    assert chi_square(counts, joint_by_hand(weigher, SETTINGS[setting])) > 1e-3


def test_one_expert_per_token_has_the_mixtures_joint_distribution() -> None:
    counts = drawn(lambda: Fixed(0.5, 0.3, 0.2), SETTINGS["plain"], PassCosts())
    assert chi_square(counts, joint_by_hand(lambda: Fixed(0.5, 0.3, 0.2), SETTINGS["plain"])) > 1e-3


def test_the_statistic_sees_a_wrong_weight() -> None:
    counts = drawn(lambda: Fixed(0.5, 0.3, 0.2), SETTINGS["plain"], PassCosts())
    assert chi_square(counts, joint_by_hand(lambda: Fixed(0.3, 0.5, 0.2), SETTINGS["plain"])) < 1e-6


@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize("weigher", [lambda: Fixed(0.5, 0.3, 0.2), lambda: Posterior(0.2, 0.5, 0.3)])
def test_greedy_text_is_the_mixtures(weigher: Callable[[], Fixed], speculate: bool) -> None:
    engine = Engine(ToyClient(TOYS, costs=DRAFT_ALWAYS))
    request = toy_request(PROMPT, weigher, Sampling(30, temperature=0.0), speculate=speculate)
    (updates,) = finished(engine, [request]).values()
    assert tokens_of(updates) == greedy_reference(weigher(), PROMPT, 30)
    assert updates[-1].finish == "length"
    assert (updates[-1].work.drafted > 0) == speculate


def test_log_probs_weights_and_alternatives_are_the_mixtures() -> None:
    engine = Engine(ToyClient(TOYS, costs=DRAFT_ALWAYS))
    weigher = Posterior(0.2, 0.5, 0.3)
    request = toy_request(PROMPT, lambda: Posterior(0.2, 0.5, 0.3), Sampling(12, seed=4), logprobs=2, echo=True)
    (updates,) = finished(engine, [request]).values()
    steps = [*updates[0].prompt, *(step for update in updates for step in update.steps)]
    tokens = [step.token for step in steps]
    assert tokens[:4] == PROMPT and len(tokens) == 16 and steps[0].log_prob is None
    for i in range(1, len(tokens)):
        p = mixture(TOYS, weigher, tokens[:i])
        assert steps[i].log_prob == pytest.approx(np.log(p[tokens[i]]), abs=1e-5)
        np.testing.assert_allclose(steps[i].weights, weigher.weights(), atol=1e-5)
        best = np.argsort(-p)[:2]
        assert [token for token, _ in steps[i].top] == best.tolist()
        np.testing.assert_allclose([value for _, value in steps[i].top], np.log(p[best]), atol=1e-5)
        weigher.observe("", tokens[i], TOYS.log_probs(tokens[:i])[:, tokens[i]])


def some_requests() -> list[Request]:
    random = np.random.default_rng(3)
    samplings = [Sampling(12, temperature=0), Sampling(9, seed=8), Sampling(15, temperature=0.7, top_p=0.8, seed=2)]
    weighers: list[Callable[[], Fixed]] = [lambda: Fixed(0.6, 0.2, 0.2), lambda: Posterior(0.5, 0.25, 0.25)]
    return [
        toy_request(random.integers(0, VOCAB, size=3 + 7 * i).tolist(), weighers[i % 2], samplings[i % 3], n=1 + i % 2)
        for i in range(6)
    ]


@pytest.mark.parametrize("slots", [2, 9])
def test_a_text_does_not_depend_on_what_else_is_in_the_batch(slots: int) -> None:
    requests = some_requests()
    together = finished(Engine(ToyClient(TOYS, slots=slots), Limits(read_per_step=20)), requests)
    for number, request in enumerate(requests):
        alone = finished(Engine(ToyClient(TOYS)), [request])
        for (_, choice), updates in alone.items():
            assert tokens_of(updates) == tokens_of(together[number, choice])


def test_choices_of_one_seed_differ_and_come_again() -> None:
    request = toy_request(PROMPT, lambda: Fixed(0.6, 0.4), Sampling(20, seed=3), n=3)
    first, again = (finished(Engine(ToyClient(TOYS)), [request]) for _ in range(2))
    texts = {tuple(tokens_of(updates)) for updates in first.values()}
    assert len(texts) == 3
    assert {tuple(tokens_of(updates)) for updates in again.values()} == texts


def test_a_request_that_is_replayed_goes_on_with_the_same_tokens() -> None:
    whole = toy_request(PROMPT, lambda: Posterior(0.6, 0.4), Sampling(20, seed=3), speculate=False)
    (updates,) = finished(Engine(ToyClient(TOYS)), [whole]).values()
    made = tokens_of(updates)
    replayed = toy_request(PROMPT, lambda: Posterior(0.6, 0.4), Sampling(20, seed=3), speculate=False, made=made[:7])
    (rest,) = finished(Engine(ToyClient(TOYS)), [replayed]).values()
    assert tokens_of(rest) == made[7:]


def test_experts_without_weight_are_not_run() -> None:
    client = ToyClient(TOYS)
    finished(Engine(client), [toy_request(PROMPT, lambda: Fixed(0.0, 1.0, 0.0), Sampling(5, seed=1))])
    assert {feed.expert for call in client.calls for feed in call} == {1}


def test_long_prompts_are_read_in_pieces_beside_those_that_decode() -> None:
    client = ToyClient(TOYS, length=400)
    engine = Engine(client, Limits(read_per_step=PIECE))
    engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(20, seed=1)))
    for _ in range(2):
        engine.step()
    for seed in (1, 2):
        engine.submit(toy_request([1] * 300, lambda: Fixed(1.0), Sampling(2, seed=seed)))
    while engine.load.running == 3 or engine.load.waiting:
        before = len(client.calls)
        updates = engine.step()
        assert [len(update.steps) for update in updates if update.request == 0] == [1]
        assert len(client.calls) == before + 1
        assert sum(len(feed.tokens) for feed in client.calls[-1]) <= PIECE + 3


def test_what_can_never_be_served_is_refused_with_its_limit() -> None:
    engine = Engine(ToyClient(TOYS, length=10), Limits(waiting=2))
    with pytest.raises(ServingError, match=r"context is 10 tokens, but the prompt has 4 .* max_tokens is 7"):
        engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(7)))
    with pytest.raises(ServingError, match="n is 7; choose 1 to 6"):
        engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(3), n=7))
    with pytest.raises(ServingError, match="n is 17; choose 1 to 16"):
        Engine(ToyClient(TOYS)).submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(3), n=17))
    with pytest.raises(ServingError, match="holds no token"):
        engine.submit(toy_request([], lambda: Fixed(1.0), Sampling(3)))
    with pytest.raises(ServingError, match="top_p is 0"):
        engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(3, top_p=0)))


def test_a_request_of_more_texts_than_slots_is_answered_one_after_the_other() -> None:
    request = toy_request(PROMPT, lambda: Fixed(1.0), Sampling(3, seed=1), n=6)
    few, many = (finished(Engine(ToyClient(TOYS, slots=slots), Limits(waiting=4)), [request]) for slots in (2, 6))
    assert len(few) == 6
    assert {text: tokens_of(updates) for text, updates in few.items()} == {
        text: tokens_of(updates) for text, updates in many.items()
    }


def test_the_queue_is_bounded_and_empties() -> None:
    engine = Engine(ToyClient(TOYS, slots=2), Limits(waiting=3))
    request = toy_request(PROMPT, lambda: Fixed(1.0), Sampling(3, seed=1))
    for _ in range(5):
        engine.submit(request)
    with pytest.raises(Overloaded, match="at most 3 may"):
        engine.submit(request)
    assert engine.submit(request, may_refuse=False) == 5
    while engine.load.running or engine.load.waiting:
        engine.step()
    assert engine.submit(request) == 6


def test_a_cancelled_request_frees_its_slots_at_once_and_is_not_heard_of_again() -> None:
    client = ToyClient(TOYS, slots=2)
    engine = Engine(client)
    first = engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(30, seed=1), n=2))
    second = engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(3, seed=1), n=2))
    engine.step()
    engine.cancel(first)
    assert engine.load.running == 0 and not client.read
    heard = [update for _ in range(8) for update in engine.step()]
    assert {update.request for update in heard} == {second}
    assert sorted(update.choice for update in heard if update.finish) == [0, 1]


def test_a_request_that_only_scores_makes_no_token() -> None:
    request = toy_request(PROMPT, lambda: Fixed(0.5, 0.5), Sampling(0), echo=True, logprobs=0)
    (updates,) = finished(Engine(ToyClient(TOYS)), [request]).values()
    assert [step.token for step in updates[0].prompt] == PROMPT and tokens_of(updates) == []
    assert updates[-1].finish == "length"
    expected = [np.log(mixture(TOYS, Fixed(0.5, 0.5), PROMPT[:i])[PROMPT[i]]) for i in range(1, 4)]
    np.testing.assert_allclose([step.log_prob for step in updates[0].prompt[1:]], expected, atol=1e-5)


def test_stop_strings_and_ids_end_a_text_before_them() -> None:
    free = toy_request(PROMPT, lambda: Fixed(1.0), Sampling(30, seed=1))
    (updates,) = finished(Engine(ToyClient(TOYS)), [free]).values()
    text = "".join(update.text for update in updates)
    stop = text[7:9]
    stopped = toy_request(PROMPT, lambda: Fixed(1.0), Sampling(30, seed=1), stops=["zz", stop])
    (updates,) = finished(Engine(ToyClient(TOYS)), [stopped]).values()
    assert "".join(update.text for update in updates) == text[: text.index(stop)]
    assert updates[-1].finish == "stop"
    ended = toy_request(PROMPT, lambda: Fixed(1.0), Sampling(30, seed=1), stop_ids=frozenset({ord(text[9]) - ord("a")}))
    (updates,) = finished(Engine(ToyClient(TOYS)), [ended]).values()
    assert "".join(update.text for update in updates) == text[: text.index(text[9])]
    assert updates[-1].finish == "stop"


@pytest.mark.parametrize("fault", [ServingError("no such thing"), ValueError("no such thing")])  # also a bug
def test_a_fault_of_one_request_ends_that_request_alone(fault: Exception) -> None:
    class Faulty(Fixed):
        def observe(self, text: str, token: int, log_probs: np.ndarray) -> None:
            raise fault

    engine = Engine(ToyClient(TOYS))
    updates = finished(
        engine,
        [
            toy_request(PROMPT, lambda: Faulty(1.0), Sampling(4, seed=1)),
            toy_request(PROMPT, lambda: Fixed(1.0), Sampling(4, seed=1)),
        ],
    )
    assert [str(update.error) for update in updates[0, 0]] == ["no such thing"]
    assert len(tokens_of(updates[1, 0])) == 4


@pytest.mark.parametrize("fault", [ServingError("no such thing"), ValueError("no such thing")])
def test_a_text_that_cannot_begin_ends_alone_and_its_slot_is_free(fault: Exception) -> None:
    def faulty(_tokens: object) -> Fixed:
        raise fault

    engine = Engine(ToyClient(TOYS, slots=1))
    good = toy_request(PROMPT, lambda: Fixed(1.0), Sampling(4, seed=1))
    updates = finished(engine, [replace(good, weigher=faulty), good])
    assert [str(update.error) for update in updates[0, 0]] == ["no such thing"]
    assert len(tokens_of(updates[1, 0])) == 4


class Named:
    """What a RequestRouter asks of an allocator whose distances nobody looks at."""

    unit = "document"
    experts = ("a", "b", "c")

    def context(self, lang: str | None) -> object:
        raise AssertionError("distances are not needed")


@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize("drop_below", [0.0, 0.25])
def test_weights_are_those_that_evaluation_gives_the_same_text(speculate: bool, drop_below: float) -> None:
    settings = WeightingSettings("posterior", drop_below=drop_below, rescore_every=8, forgetting=0.8)
    toys = ToyExperts(alike=0.8)
    client = ToyClient(toys, costs=DRAFT_ALWAYS)
    request = replace(
        toy_request([*PROMPT] * 4, lambda: Fixed(1 / 3, 1 / 3, 1 / 3), Sampling(40, seed=6)),
        weigher=lambda tokens: RequestRouter(Named(), settings, None, "", tokens),  # type: ignore[arg-type]
        speculate=speculate,
        echo=True,
        logprobs=0,
    )
    (updates,) = finished(Engine(client), [request]).values()
    steps = [*updates[0].prompt, *(step for update in updates for step in update.steps)]
    tokens = [step.token for step in steps]
    scores = np.array([toys.log_probs(tokens[:i])[:, tokens[i]] for i in range(1, len(tokens))])
    expected = document_weights(settings, [len(scores)], scores).weights
    np.testing.assert_allclose([step.weights for step in steps[1:]], expected, atol=1e-5)
    mixed = np.log((expected * np.exp(scores)).sum(axis=1))
    np.testing.assert_allclose([step.log_prob for step in steps[1:]], mixed, atol=1e-5)
    dropped = (expected == 0).any(axis=1)[len(PROMPT) * 4 :]
    assert dropped.any() == (drop_below > 0)
    assert (updates[-1].work.fed < 3 * 55) == (drop_below > 0) or speculate
