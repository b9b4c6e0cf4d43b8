"""What goes on at another replica, told by replicas that end when they are told to; and by a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from app.core.errors import ServingError
from app.ensemble.engine import Load
from app.ensemble.sampling import Sampling
from serve.messages import Accepted, Batch, Effort, Job, Piece, Progress, Token
from serve.replay import OtherRelease, ReplicaLost, replayed, tried_again
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble

JOB = Job("dense", ("x", "y"), Sampling(6), n=2)
NOW = (0.0, 0.0)


def batch(*events: Accepted | Piece) -> Batch:
    return Batch(events, "r", Load(1, 0, 1))


def accepted(release: str = "one") -> Accepted:
    return Accepted((2, 2), ("e",), None, 0.0, version=1, release=release)


def piece(choice: int, *ids: int, finish: bool = False, prompt: Sequence[Token] = ()) -> Piece:
    return Piece(choice, [token(i) for i in ids], prompt, "stop" if finish else None)


def token(number: int) -> Token:
    return Token(number, str(number), str(number), None, {}, ())


class Scripted:
    """One script a try: batches that are given out, and an exception at which it ends. Notes what it is asked."""

    def __init__(self, *scripts: Sequence[Batch | Exception]) -> None:
        self.scripts, self.asked, self.closed = list(scripts), list[Job](), 0

    async def answer(self, job: Job) -> AsyncIterator[Batch]:
        """The next script."""
        self.asked.append(job)
        try:
            for item in self.scripts.pop(0):
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed += 1


def told(backend: Scripted, job: Job = JOB, looks: int = 3) -> list[Accepted | Piece]:
    async def collected() -> list[Accepted | Piece]:
        batches = replayed(job, backend.answer, NOW, looks, 0.0)
        return [event async for found in batches for event in found.events]

    return asyncio.run(collected())


def test_what_was_delivered_is_not_asked_for_again_and_texts_that_ended_are_left_out() -> None:
    backend = Scripted(
        [batch(accepted(), piece(0, 7)), batch(piece(0, 8), piece(1, 3, finish=True)), ReplicaLost()],
        [batch(accepted()), batch(piece(0, 9), piece(3, 1, finish=True)), ReplicaLost()],
        [batch(accepted(), piece(0, 5, finish=True)), batch(piece(2, finish=True))],
    )
    found = told(backend)
    assert found[0] == accepted() and all(isinstance(event, Piece) for event in found[1:])
    texts = {i: [t.id for e in found[1:] if isinstance(e, Piece) and e.choice == i for t in e.tokens] for i in range(4)}
    assert texts == {0: [7, 8, 9, 5], 1: [3], 2: [], 3: [1]}
    first, second, third = backend.asked
    assert first == JOB
    going_on = {0: Progress((7, 8)), 2: Progress(), 3: Progress()}
    assert second == replace(JOB, release="one", going_on=going_on, accepted=True)
    assert third.going_on == {0: Progress((7, 8, 9)), 2: Progress()}
    assert backend.closed == 3


def test_the_weights_of_a_text_that_was_taken_over_are_the_means_over_all_of_it() -> None:
    def weighed(choice: int, *weights: tuple[float, float], last: tuple[float, float] | None = None) -> Piece:
        made = [replace(token(7), weights=row) for row in weights]
        return Piece(choice, made, (), "stop" if last else None, Effort(9, 5, 4, 3, last) if last else None)

    ends = [weighed(i, last=(0.25, 0.75)) for i in (2, 3)]
    backend = Scripted(
        [batch(accepted(), weighed(0, (1.0, 0.0), (0.5, 0.5)), weighed(1, (0.4, 0.6), last=(0.3, 0.7))), ReplicaLost()],
        [batch(accepted(), *ends, weighed(0, (0.0, 1.0))), ReplicaLost()],
        [batch(accepted(), weighed(0, (0.1, 0.9), last=(0.1, 0.9)))],
    )
    found = {event.choice: event.effort for event in told(backend) if isinstance(event, Piece) and event.effort}
    assert found[0] == Effort(9, 5, 4, 3, [pytest.approx(0.4), pytest.approx(0.6)])
    assert found[1].weights == (0.3, 0.7), "one that ended undisturbed is as its replica says"
    assert found[2] == found[3] == Effort(9, 5, 4, 3, (0.25, 0.75)), "nothing of it was made before"


def test_a_prompt_that_was_echoed_is_not_echoed_again() -> None:
    pieces = [piece(0, prompt=[token(1)]), piece(1, finish=True), piece(2, finish=True), piece(3, finish=True)]
    backend = Scripted([batch(accepted(), *pieces), ReplicaLost()], [batch(accepted(), piece(0, 4, finish=True))])
    told(backend)
    assert backend.asked[1].going_on == {0: Progress((), True)}


def test_a_replica_that_goes_after_the_last_word_is_not_replaced() -> None:
    backend = Scripted([batch(accepted(), *(piece(i, finish=True) for i in range(4))), ReplicaLost()])
    assert len(told(backend)) == 5 and len(backend.asked) == 1


def test_tries_are_counted_and_errors_of_a_replica_are_not_tried_again() -> None:
    dying = Scripted(*([ReplicaLost()] for _ in range(3)))
    with pytest.raises(ReplicaLost):
        told(dying)
    assert len(dying.asked) == 1 + len(NOW)
    refusing = Scripted([batch(accepted()), ServingError("no")])
    with pytest.raises(ServingError, match="no"):
        told(refusing)
    assert len(refusing.asked) == 1


def test_what_nothing_was_said_of_may_be_answered_by_another_release() -> None:
    ends = [piece(i, finish=True) for i in range(4)]
    backend = Scripted([batch(accepted("one")), ReplicaLost()], [batch(accepted("two"), *ends)])
    assert told(backend) == [accepted("one"), accepted("two"), *ends]
    # The head of the answer is sent with the first word of a replica: no other may say then that it has no room.
    assert backend.asked == [JOB, replace(JOB, accepted=True)]


def test_a_stream_stays_with_its_release_and_what_is_shown_whole_begins_again_with_another() -> None:
    ends = [piece(i, finish=True) for i in range(4)]
    scripts: list[list[Batch | Exception]] = [
        [batch(accepted("one"), piece(0, 7)), ReplicaLost()],
        *([OtherRelease()] for _ in range(3)),
    ]
    found = told(Scripted(*scripts, [batch(accepted("one"), *ends)]), looks=3)
    assert found[2:] == ends
    with pytest.raises(OtherRelease):
        told(Scripted(*scripts, [OtherRelease()]), looks=3)
    backend = Scripted(*scripts, [OtherRelease()], [batch(accepted("two"), *ends)])
    whole = replace(JOB, whole=True)
    assert told(backend, whole, looks=3)[-5:] == [accepted("two"), *ends]
    # It was taken once, so no other may refuse it for want of room.
    assert backend.asked[-1] == replace(whole, accepted=True)


def test_a_model_that_replicas_of_a_change_before_do_not_know_is_looked_for_and_not_for_ever() -> None:
    ends = [piece(i, finish=True) for i in range(4)]
    found = told(Scripted([OtherRelease()], [OtherRelease()], [batch(accepted("two"), *ends)]))
    assert found == [accepted("two"), *ends]
    for job in (JOB, replace(JOB, whole=True)):
        nowhere = Scripted(*([OtherRelease()] for _ in range(9)))
        with pytest.raises(OtherRelease):
            told(nowhere, job, looks=3)
        assert len(nowhere.asked) == 1 + 3


def test_a_call_is_tried_again() -> None:
    async def ask() -> str:
        if not tries.pop():
            raise ReplicaLost()
        return "answer"

    tries = [True, False, False]
    assert asyncio.run(tried_again(ask, NOW)) == "answer"
    tries = [True, False, False, False]
    with pytest.raises(ReplicaLost):
        asyncio.run(tried_again(ask, NOW))


class Mortal:
    """A replica that goes away after so many batches, as often as it is told."""

    def __init__(self, replica: Replica, *lives: int) -> None:
        self.replica, self.lives = replica, list(lives)

    async def answer(self, job: Job) -> AsyncIterator[Batch]:
        """The replica's batches, as far as it lives."""
        left = self.lives.pop(0) if self.lives else 10**9
        async for found in self.replica.answer(job):
            yield found
            if not (left := left - 1):
                raise ReplicaLost()


@pytest.mark.parametrize("stops", [(), ("a", "nn")])
def test_greedy_texts_are_those_of_an_undisturbed_answer(stops: Sequence[str]) -> None:
    sampling = Sampling(30, temperature=0.0, presence_penalty=0.3)
    job = Job("ensemble", ("12 ", "Januar"), sampling, stops, n=2, logprobs=1, echo=True)
    replica = Replica(demo_ensemble(), slots=4)

    async def tokens(*lives: int) -> tuple[dict[int, list[tuple[int, str]]], list[object]]:
        told: dict[int, list[tuple[int, str]]] = {i: [] for i in range(4)}
        ends: list[object] = []
        async for found in replayed(job, Mortal(replica, *lives).answer, (0.0,) * 9):
            for event in found.events:
                if isinstance(event, Piece):
                    told[event.choice] += [(t.id, t.piece) for t in [*event.prompt, *event.tokens]]
                    if event.effort is not None:
                        ends.append((event.choice, event.finish, event.effort.made))
        return told, sorted(ends, key=str)

    try:
        assert asyncio.run(tokens(1, 3, 2, 5, 4)) == asyncio.run(tokens())
    finally:
        replica.close()
