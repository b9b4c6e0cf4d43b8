"""Experts elsewhere, whose calls fail in every way that a network has: the texts are those of experts that are here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from app.ensemble import remote_client
from app.ensemble.client import Capacity, Feed, Reply
from app.ensemble.engine import Engine, Limits
from app.ensemble.expert_host import Ask, ExpertHost
from app.ensemble.remote_client import Gone, RemoteClient, Unreachable
from app.ensemble.sampling import Sampling
from tests.app.ensemble.test_engine import (
    PROMPT,
    SETTINGS,
    chi_square,
    finished,
    greedy_reference,
    joint_by_hand,
    tokens_of,
)
from tests.support.toy_experts import VOCAB, Fixed, Posterior, ToyClient, ToyExperts, toy_request

TOYS = ToyExperts(alike=0.3)
K = len(TOYS.tables)
NAMES = [f"expert-{number:02d}" for number in range(K)]


def host_of(expert: int, slots: int) -> ExpertHost:
    alone = ToyExperts(k=1)
    alone.tables = TOYS.tables[expert : expert + 1]
    return ExpertHost(ToyClient(alone, slots))


class ToyLink:
    """A way to two replicas of one expert; ``plan`` says of each call what happens to it."""

    def __init__(self, expert: int, slots: int, plan: Sequence[str] = ("",)) -> None:
        self.hosts = [host_of(expert, slots), host_of(expert, slots)]
        self._make = lambda: host_of(expert, slots)
        self._plan = itertools.cycle(plan)
        self.calls: list[Sequence[Ask]] = []

    def send(self, caller: str, asks: Sequence[Ask]) -> Callable[[], list[Reply | None]]:
        """``died``: a new process; ``lost``: the reply does not arrive; ``moved``: the other replica is asked."""
        event = next(self._plan)
        self.calls.append(asks)

        def wait() -> list[Reply | None]:
            if event == "died":
                self.hosts[0] = self._make()
                raise Unreachable
            replies = self.hosts[event == "moved"].run(caller, asks)
            if event == "lost":
                raise Unreachable
            return replies

        return wait


PLANS = {
    "calm": [[""]] * K,
    "replies are lost": [["", "", "lost"], ["lost", ""], [""]],
    "processes die": [["", "died"], ["", "", "", "died"], ["", "", "died"]],
    "replicas change": [["", "moved"], ["moved", "", ""], ["", "", "", "moved", "died"]],
}


def client_of(plans: Sequence[Sequence[str]], slots: int = 4, room: int | None = None) -> RemoteClient:
    links = [ToyLink(expert, room or slots, plan) for expert, plan in enumerate(plans)]
    return RemoteClient(links, NAMES, Capacity(K, VOCAB, slots, 64))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_client, "_PAUSE_S", 0.0)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("weigher", [lambda: Posterior(0.4, 0.3, 0.3), lambda: Fixed(0.9, 0.1), lambda: Fixed(1.0)])
def test_greedy_texts_are_those_of_the_mixture_whatever_happens_to_calls(
    plan: str, weigher: Callable[[], Fixed]
) -> None:
    engine = Engine(client_of(PLANS[plan]), Limits(n=4))
    prompts = [PROMPT, [0, 2, 2, 5, 1], [0]]
    requests = [toy_request(prompt, weigher, Sampling(9, temperature=0.0)) for prompt in prompts]
    texts = [tokens_of(updates) for _, updates in sorted(finished(engine, requests).items())]
    reference = [greedy_reference(weigher(), prompt, 9) for prompt in prompts]
    assert [[*text] for text in texts] == [text[: len(made)] for text, made in zip(reference, texts, strict=True)]
    assert all(len(text) == 9 for text in texts)


@pytest.mark.parametrize("setting", ["plain", "penalised"])
def test_texts_are_drawn_from_the_mixture(setting: str) -> None:
    sampling = SETTINGS[setting]
    engine = Engine(client_of(PLANS["replicas change"], slots=50), Limits(waiting=1000, n=50))
    requests = [
        toy_request(PROMPT, lambda: Posterior(0.4, 0.3, 0.3), Sampling(**{**vars(sampling), "seed": seed}), n=50)
        for seed in range(20)
    ]
    counts = np.zeros((VOCAB,) * 3, dtype=int)
    for updates in finished(engine, requests).values():
        counts[tuple(tokens_of(updates))] += 1
    assert chi_square(counts.ravel(), joint_by_hand(lambda: Posterior(0.4, 0.3, 0.3), sampling)) > 1e-3


def test_a_host_with_less_room_than_its_callers_makes_the_same_texts() -> None:
    engine = Engine(client_of(PLANS["calm"], slots=4, room=2), Limits(n=4))
    requests = [toy_request(PROMPT, lambda: Posterior(0.4, 0.3, 0.3), Sampling(9, temperature=0.0)) for _ in range(4)]
    texts = {tuple(tokens_of(updates)) for updates in finished(engine, requests).values()}
    assert texts == {tuple(greedy_reference(Posterior(0.4, 0.3, 0.3), PROMPT, 9))}


def test_two_callers_do_not_disturb_each_other() -> None:
    links = [ToyLink(expert, 8) for expert in range(K)]
    engines = [Engine(RemoteClient(links, NAMES, Capacity(K, VOCAB, 4, 64))) for _ in range(2)]
    prompts = [PROMPT, [0, 2, 2, 5, 1]]
    for engine, prompt in zip(engines, prompts, strict=True):
        engine.submit(toy_request(prompt, lambda: Posterior(0.4, 0.3, 0.3), Sampling(9, temperature=0.0)))
    made: list[list[int]] = [[], []]
    while any(engine.load.running or engine.load.waiting for engine in engines):
        for engine, text in zip(engines, made, strict=True):
            text += tokens_of(engine.step())
    assert made == [greedy_reference(Posterior(0.4, 0.3, 0.3), prompt, 9) for prompt in prompts]


def test_a_call_carries_several_tokens_and_an_expert_that_is_whole_gets_no_past_again() -> None:
    client = client_of(PLANS["calm"])
    engine = Engine(client)
    engine.submit(toy_request(PROMPT, lambda: Fixed(1.0), Sampling(26, temperature=0.0)))
    while engine.load.running or engine.load.waiting:
        engine.step()
    link = client._links[0]
    assert isinstance(link, ToyLink) and len(link.calls) <= 5
    assert not any(ask.past for asks in link.calls for ask in asks)


def test_an_expert_that_is_served_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> list[Reply | None]:
        raise Gone

    client = client_of(PLANS["calm"])
    monkeypatch.setattr(client._links[0], "send", lambda _caller, _asks: gone)
    with pytest.raises(Gone):
        client.extend([Feed(0, 0, [0], 0)])


def test_an_expert_that_stays_away_is_named() -> None:
    links = [ToyLink(0, 4), ToyLink(1, 4, ["died"]), ToyLink(2, 4)]
    engine = Engine(RemoteClient(links, NAMES, Capacity(K, VOCAB, 4, 64), patience=0.05))
    engine.submit(toy_request(PROMPT, lambda: Posterior(0.4, 0.3, 0.3), Sampling(9)))
    with pytest.raises(Unreachable, match=r"expert-01 could not be reached for 0\.05 s"):
        while engine.load.running or engine.load.waiting:
            engine.step()


def test_a_replica_that_holds_the_slots_last_text_does_not_go_on_from_it() -> None:
    """The new text's second call reaches the replica whose number of the old text it would follow."""
    plan = ["moved", "", "", "", "moved", ""]
    clients = [RemoteClient([ToyLink(0, 4, events)], NAMES[:1], Capacity(1, VOCAB, 4, 64)) for events in (plan, [""])]
    found = []
    for client in clients:
        for text in ([0, 1, 2, 3], [0, 2, 4, 1]):
            client.extend([Feed(0, 0, text[:3], 0)])
            (reply,) = client.extend([Feed(0, 0, text[3:], 3)])
            client.drop(0)
        found.append(reply.rows)
    assert np.array_equal(*found)
