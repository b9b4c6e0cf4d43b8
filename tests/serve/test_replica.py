from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import XGLMTokenizer

from app.core.errors import AllocationError, ConfigError, Overloaded, ServingError
from app.ensemble.engine import Limits
from app.ensemble.remote_client import Unreachable
from app.ensemble.rules import WeightingSettings
from app.ensemble.sampling import Sampling
from app.ensemble.text_output import Step
from app.tokens.tokenizer import load_tokenizer
from serve import replica as replica_module
from serve.messages import Accepted, Batch, Job, Mixing, Piece, Progress, TextLanguage
from serve.replay import OtherRelease
from serve.replica import Replica
from serve.weighing import plan_of
from tests.support.ensembles import demo_ensemble

GREEDY = Sampling(8, temperature=0.0)
LONG = Job("dense", ("12 ",), Sampling(100, temperature=1.0, seed=5, logit_bias={0: -100.0}))


@pytest.fixture
def replica() -> Iterator[Replica]:
    made = Replica(demo_ensemble(), slots=2, limits=Limits(waiting=1))
    yield made
    made.close()


def pieces_of(batches: list[Batch]) -> list[Piece]:
    return [event for batch in batches for event in batch.events if isinstance(event, Piece)]


def text_of(replica: Replica, job: Job) -> str:
    return "".join(token.piece for piece in pieces_of(all_of(replica, job)) for token in piece.tokens)


def all_of(replica: Replica, job: Job) -> list[Batch]:
    async def collected() -> list[Batch]:
        return [batch async for batch in replica.answer(job)]

    return asyncio.run(collected())


def greedy(model: int | None) -> str:
    """What one expert alone (None: dense) writes after "12 ", by its full logits."""
    ensemble = demo_ensemble()
    chosen = ensemble.models["dense" if model is None else f"expert-{model:02d}"]
    ids = [ensemble.tokenizer.start_id, *ensemble.tokenizer.encode_batch(["12 "])[0].tolist()]
    made: list[int] = []
    with torch.no_grad():
        for _ in range(8):
            token = int(chosen.logits(torch.tensor([[*ids, *made]]))[0, -1].argmax())
            if token == ensemble.tokenizer.end_id:
                break
            made.append(token)
    return ensemble.tokenizer.decode(made)


def test_a_language_named_in_the_request_is_written_by_its_expert(replica: Replica) -> None:
    for place, lang in enumerate(("de", "en")):
        job = Job("ensemble", ("12 ",), GREEDY, mixing=Mixing(language=lang))
        assert text_of(replica, job) == greedy(place)
        tokens = [token for piece in pieces_of(all_of(replica, job)) for token in piece.tokens]
        assert {tuple(token.weights) for token in tokens} == {(float(place == 0), float(place == 1))}


def test_single_models_can_be_asked_for(replica: Replica) -> None:
    for name, place in (("expert-00", 0), ("expert-01", 1), ("dense", None)):
        assert text_of(replica, Job(name, ("12 ",), GREEDY)) == greedy(place)


def test_experts_that_are_named_are_the_only_ones(replica: Replica) -> None:
    for mixing in (Mixing(experts=("expert-01",)), Mixing(experts=("expert-00", "expert-01"), fixed=(0.0, 2.0))):
        assert text_of(replica, Job("ensemble", ("12 ",), GREEDY, mixing=mixing)) == greedy(1)


def test_the_first_event_says_what_was_taken(replica: Replica) -> None:
    first = all_of(replica, Job("ensemble", ("12 ", (0, 5)), GREEDY, n=1))[0]
    unknown = (TextLanguage(), TextLanguage())  # the record of this ensemble names no language
    assert first.events == [Accepted((4, 2), ("expert-00", "expert-01"), "posterior", 1e-4, unknown)]


def test_token_ids_are_taken_as_given_and_text_gets_the_start_token(replica: Replica) -> None:
    tokenizer = demo_ensemble().tokenizer
    bare = tokenizer.encode_batch(["12 "])[0].tolist()
    by_text = text_of(replica, Job("dense", ("12 ",), GREEDY))
    assert text_of(replica, Job("dense", ((tokenizer.start_id, *bare),), GREEDY)) == by_text
    job = Job("dense", (tuple(bare),), replace(GREEDY, max_tokens=1), logprobs=0, echo=True)
    assert len(pieces_of(all_of(replica, job))[0].prompt) == len(bare)


@pytest.mark.parametrize(
    ("prompt", "mixing", "error", "message"),
    [
        ((), {}, ServingError, "holds no token"),
        ((10**6,), {}, ServingError, "token id 1000000; ids run from 0 to"),
        ("x", {"language": "fr"}, AllocationError, "nearest known: en, de"),
        ("x", {"weighting": "tfdif", "language": "de"}, ConfigError, "tfidf"),
        ("x", {"top_m": 3, "language": "de"}, ConfigError, "top_m is 3 but there are 2 experts"),
        ("x", {"experts": ("expert-02",)}, ServingError, "expert-01"),
        ("x", {"experts": ()}, ServingError, "is empty"),
        ("x", {"experts": ("expert-01",), "language": "de"}, ServingError, "none of expert-01 owns language 'de'"),
        ("x", {"experts": ("expert-01",), "fixed": (1.0,), "weighting": "uniform"}, ServingError, "does not look"),
        ("x", {"temperature": 0.5}, ServingError, r"xelm\.temperature is 0\.5, but weighting posterior .* of tfidf"),
        ("x", {"temperature": 0.5, "language": "de"}, ServingError, "weighting one_hot does not look at it"),
    ],
)
def test_what_cannot_be_met_is_refused_before_the_first_event(
    replica: Replica, prompt: Any, mixing: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        all_of(replica, Job("ensemble", (prompt,), GREEDY, mixing=Mixing(**mixing)))


@pytest.mark.parametrize(("language", "rule"), [("de", "one_hot"), (None, "posterior")])
def test_auto_is_the_rule_that_evaluation_takes_for_it(replica: Replica, language: str | None, rule: str) -> None:
    replica._ensemble = replace(demo_ensemble(), weighting=WeightingSettings("uniform"))  # not the run's own rule
    job = Job("ensemble", ("12 ",), GREEDY, mixing=Mixing(language=language, weighting="auto"))
    accepted = all_of(replica, job)[0].events[0]
    assert isinstance(accepted, Accepted) and accepted.weighting == rule


def test_a_temperature_is_taken_by_the_rules_that_look_at_it(replica: Replica) -> None:
    for name in ("tfidf", "as_coded", "product_of_experts"):
        mixing = Mixing(language="de", weighting=name, temperature=0.5)
        assert pieces_of(all_of(replica, Job("ensemble", ("12 ",), GREEDY, mixing=mixing)))


def test_options_for_mixing_are_refused_where_nothing_is_mixed(replica: Replica) -> None:
    with pytest.raises(ServingError, match=r"xelm\.language .* dense is a single model"):
        all_of(replica, Job("dense", ("x",), GREEDY, mixing=Mixing(language="de")))


def test_a_listener_that_goes_away_frees_its_slots_within_one_step(replica: Replica) -> None:
    async def left() -> tuple[int, int]:
        batches = replica.answer(LONG)
        await anext(batches)
        await anext(batches)
        await batches.aclose()  # type: ignore[attr-defined]
        other = [batch async for batch in replica.answer(replace(LONG, sampling=replace(GREEDY, max_tokens=2)))]
        return other[1].load.running, len(pieces_of(other))

    running, heard = asyncio.run(left())
    assert running <= 1 and heard >= 1


def test_all_prompts_of_a_job_are_taken_or_none_and_the_queue_is_bounded(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica._engine._engine, "step", list)  # nothing moves: two slots are free, one text may wait

    async def crowded() -> int:
        taken = [replica.answer(replace(LONG, n=2)), replica.answer(LONG)]
        await anext(taken[0])
        with pytest.raises(Overloaded, match="wait already"):
            await anext(replica.answer(replace(LONG, prompts=("1", "2"))))
        await anext(taken[1])  # the refused job left nothing behind
        with pytest.raises(Overloaded, match="wait already"):
            await anext(replica.answer(LONG))
        # A replica that was lost had taken this one: its client has an answer that began, and no status for a refusal.
        taken.append(replica.answer(replace(LONG, accepted=True)))
        await anext(taken[-1])
        return replica._engine.load.waiting

    assert asyncio.run(crowded()) == 4


def test_jobs_at_once_are_each_answered_as_alone(replica: Replica) -> None:
    jobs = [
        replace(LONG, sampling=Sampling(12, seed=seed), model=model) for seed, model in ((1, "dense"), (2, "ensemble"))
    ]
    alone = [text_of(replica, job) for job in jobs]

    async def together() -> list[str]:
        async def one(job: Job) -> str:
            batches = [batch async for batch in replica.answer(job)]
            return "".join(token.piece for piece in pieces_of(batches) for token in piece.tokens)

        return await asyncio.gather(*map(one, jobs))

    assert asyncio.run(together()) == alone


def test_prompts_that_are_drawn_apart_go_on_elsewhere_with_their_own_numbers(replica: Replica) -> None:
    sampling = Sampling(20, seed=5, logit_bias={0: -100.0})
    job = Job("dense", ("12 ", "12 "), sampling, apart=True)  # a model alone makes no drafts: the same token for token
    texts: dict[int, list[int]] = {0: [], 1: []}
    for piece in pieces_of(all_of(replica, job)):
        texts[piece.choice] += [token.id for token in piece.tokens]
    assert texts[0] != texts[1]
    going_on = {1: Progress(tuple(texts[1][:6]))}
    rest = [token.id for piece in pieces_of(all_of(replica, replace(job, going_on=going_on))) for token in piece.tokens]
    assert rest == texts[1][6:] and len(rest) == 14


def test_a_token_that_the_head_has_and_the_tokenizer_has_not_goes_on_elsewhere(replica: Replica) -> None:
    # Models may have rows beyond their tokenizer's vocabulary; a client cannot ask for them, but they can be made.
    beyond = demo_ensemble().tokenizer.vocab_size
    job = Job("dense", ("12 ",), replace(GREEDY, max_tokens=4), going_on={0: Progress((5, beyond))})
    (going_on,) = replica._asked(job, plan_of(demo_ensemble(), "dense", Mixing()), 0, [0, 5])
    assert list(going_on.made) == [5, beyond]


def test_a_model_that_is_not_here_may_be_at_a_replica_of_another_release(replica: Replica) -> None:
    with pytest.raises(OtherRelease):
        all_of(replica, Job("merged", ("12 ",), GREEDY))


def test_a_long_prompt_is_told_beside_the_other_streams_and_as_a_short_one(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("ensemble", ("12 Januar " * 3,), replace(GREEDY, max_tokens=1), logprobs=2, echo=True)
    threads: list[str] = []
    described = replica_module.Replica._pieces

    def noted(*arguments: Any) -> list[Piece]:
        threads.append(threading.current_thread().name)
        return described(*arguments)

    monkeypatch.setattr(replica_module.Replica, "_pieces", noted)
    found = []
    for most in (1, 10_000):
        monkeypatch.setattr(replica_module, "_NAMED_AT_ONCE", most)
        found.append([piece.prompt for piece in pieces_of(all_of(replica, job))])
    assert found[0] == found[1] and any(found[0])
    assert any(name.startswith("reader") for name in threads) and "MainThread" in threads


def test_an_end_token_has_its_entry_where_one_token_is_made_to_be_scored(replica: Replica) -> None:
    end = demo_ensemble().tokenizer.end_id
    sampling = Sampling(1, temperature=0.0, logit_bias={end: 100.0})
    piece = pieces_of(all_of(replica, Job("dense", ("12 ",), sampling, logprobs=1, echo=True)))[-1]
    assert [token.name for token in piece.tokens] == ["</s>"] and piece.finish == "stop"
    assert "".join(token.piece for token in piece.tokens) == ""


@pytest.mark.parametrize("logprobs", [None, 1])
@pytest.mark.parametrize("most", [1, 2])
def test_a_token_that_is_asked_to_end_a_text_does_so_and_is_no_part_of_it(
    replica: Replica, logprobs: int | None, most: int
) -> None:
    stop = demo_ensemble().tokenizer.encode_batch(["a"])[0].tolist()[0]
    sampling = Sampling(most, temperature=0.0, logit_bias={stop: 100.0})
    job = Job("dense", ("12 ",), sampling, stop_ids=(stop,), logprobs=logprobs)
    (piece,) = pieces_of(all_of(replica, job))
    assert list(piece.tokens) == [] and piece.finish == "stop"


@pytest.mark.parametrize("most_probable", ["▁the", "the"])
def test_tokens_that_differ_in_their_space_have_entries_of_their_own(most_probable: str, tmp_path: Path) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁the", "the"]
    XGLMTokenizer(vocab=[(word, -float(rank)) for rank, word in enumerate(words)]).save_pretrained(str(tmp_path))
    replica = Replica(replace(demo_ensemble(), tokenizer=load_tokenizer(str(tmp_path))), slots=1)
    replica.close()
    spelt = {replica._ensemble.tokenizer.spelling(token): token for token in range(7)}
    best, other = (spelt[word] for word in sorted(("▁the", "the"), key=lambda word: word != most_probable))
    job = Job("dense", ("x",), GREEDY, logprobs=2)
    token = replica._token(job, Step(other, np.ones(1), -0.9, [(best, -0.5), (other, -0.9)]))
    names = {spelt["▁the"]: " the", spelt["the"]: "the"}
    assert token.top == {names[best]: -0.5, names[other]: -0.9} and token.name == names[other]


@pytest.mark.parametrize("kind", [RuntimeError, Unreachable])
def test_what_stops_the_engine_is_heard_by_all_and_seen_by_the_health_check(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise kind("stops it")

    monkeypatch.setattr(replica._engine._engine, "step", broken)
    with pytest.raises(kind, match="stops it"):
        all_of(replica, LONG)
    with pytest.raises(RuntimeError, match="has stopped"):
        replica.require_health()
    # Who comes later had no part in it: another replica may take it.
    with pytest.raises(Unreachable, match="has stopped"):
        all_of(replica, LONG)


def test_a_bug_in_taking_a_job_in_is_that_jobs_alone(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise TypeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(replica._engine._engine, "_require_possible", faulty)
        with pytest.raises(TypeError, match="a bug"):
            all_of(replica, LONG)
    replica.require_health()
    assert pieces_of(all_of(replica, Job("dense", ("12 ",), GREEDY)))


def test_prompts_are_read_while_all_other_threads_are_busy(replica: Replica) -> None:
    async def answered() -> int:
        released = threading.Event()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        busy = asyncio.create_task(asyncio.to_thread(released.wait, 60))
        await asyncio.sleep(0)  # it has the only thread now
        try:
            async with asyncio.timeout(10):
                return len([batch async for batch in replica.answer(Job("dense", ("12 ",), GREEDY))])
        finally:
            released.set()
            await busy

    assert asyncio.run(answered()) > 1


def test_nothing_runs_on_after_a_replica_is_closed() -> None:
    before = set(threading.enumerate())
    made = Replica(demo_ensemble(), slots=1)
    all_of(made, Job("dense", ("12 ",), GREEDY))
    assert len({*threading.enumerate()} - before) >= 2
    made.close()
    assert not {thread for thread in threading.enumerate() if thread not in before}


def test_warming_runs_every_model_and_leaves_nothing(replica: Replica) -> None:
    asyncio.run(replica.warm())
    assert replica._engine.load.running == 0


def test_who_asked_while_the_engine_was_breaking_hears_of_it_too(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, goes_on = threading.Event(), threading.Event()

    def breaking(*_: object) -> None:
        steps.set()
        goes_on.wait(10)
        raise RuntimeError("a bug")

    monkeypatch.setattr(replica._engine._engine, "step", breaking)

    async def asked() -> list[object]:
        async def one() -> None:
            async for _ in replica.answer(LONG):
                pass

        first = asyncio.create_task(one())
        await asyncio.to_thread(steps.wait, 10)
        second = asyncio.create_task(one())
        await asyncio.sleep(0.2)  # its command is put, and nobody has taken it
        goes_on.set()
        return await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 10)

    assert all(isinstance(error, RuntimeError) for error in asyncio.run(asked()))
