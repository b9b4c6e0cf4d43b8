"""A replica of the models: takes jobs, gives their texts bit by bit. No Ray and no HTTP in here."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from app.core.errors import ServingError
from app.core.seeding import derive_seed
from app.ensemble.client import ExpertClient, require_room
from app.ensemble.engine import Engine, Limits
from app.ensemble.requests import FinishReason, Request, Update, Work
from app.ensemble.sampling import Sampling
from app.ensemble.text_output import Step
from serve.engine_thread import EngineThread
from serve.languages import Languages
from serve.loading import MIXTURE, LoadedEnsemble
from serve.messages import (
    Accepted,
    Batch,
    Conversation,
    Description,
    Effort,
    Job,
    Mixing,
    ModelInfo,
    Piece,
    Prompt,
    TextLanguage,
    Token,
)
from serve.replay import OtherRelease
from serve.weighing import Plan, plan_of, wants_language

_LEAST = -9999.0
"""Log-probabilities are cut here: JSON has no infinity."""
_WARM_TOKENS = 8
_READERS = 4
"""Jobs whose prompts are tokenized, or told with their log-probabilities, at once."""
_NAMED_AT_ONCE = 64
_CHANGED = "what is served has changed since this text was begun, and a text comes from one version alone; ask again"


class Replica:
    """A ``Backend`` in this process. ``pace``: seconds between two batches of a job, 0 for each step at once."""

    def __init__(
        self,
        ensemble: LoadedEnsemble,
        slots: int = 16,
        length: int | None = None,
        limits: Limits | None = None,
        pace: float = 0.0,
        client: ExpertClient | None = None,
    ) -> None:
        """slots: texts at once; length: tokens of each (``LoadedEnsemble.client``). All memory is taken here.

        client: of the models, where they are elsewhere; it has slots and a length of its own.
        """
        client = client or ensemble.client(slots, length)
        self._ensemble, self._capacity, self._pace = ensemble, client.capacity, pace
        self._engine = EngineThread(Engine(client, limits))
        # Its own threads: those of the event loop may all be busy with texts that are only to be tokenized.
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._name = uuid.uuid4().hex[:8]
        self._languages = Languages(ensemble.spoken())

    async def describe(self) -> Description:
        """See Backend."""
        ensemble, tokenizer = self._ensemble, self._ensemble.tokenizer
        experts = [
            ModelInfo(name, "expert", tuple(ensemble.languages.get(name, ()))) for name in ensemble.allocator.experts
        ]
        return Description(
            run=ensemble.run,
            version=ensemble.version,
            release=ensemble.release,
            models=(
                ModelInfo(MIXTURE, "ensemble"),
                *experts,
                *(ModelInfo(name, "single") for name in ensemble.singles),
            ),
            vocabulary=self._capacity.vocab_size,
            context=self._capacity.length,
            slots=self._capacity.slots,
            weighting=ensemble.weighting.name,
            loaded_at=ensemble.loaded_at,
            tokenizer=tokenizer.description(),
            replica=self._name,
            load=self._engine.load,
        )

    async def warm(self) -> None:
        """Run every model once, so that the first request finds memory, kernels and languages ready."""
        await asyncio.to_thread(self._languages.warm)
        for model in self._ensemble.names():
            job = Job(model, (" ",), Sampling(_WARM_TOKENS, temperature=0.0), mixing=Mixing())
            async for _ in self.answer(job):
                pass

    def require_health(self) -> None:
        """Raise what has stopped the engine, if anything has."""
        if self._engine.broken is not None:
            raise RuntimeError("the engine has stopped") from self._engine.broken

    async def answer(self, job: Job) -> AsyncGenerator[Batch]:
        """See Backend. Whoever stops listening frees the job's slots before the next step."""
        # Of a model that is not here the ingress was told by a replica of another release.
        if job.release not in (None, self._ensemble.release) or job.model not in self._ensemble.names():
            raise OtherRelease(_CHANGED)
        # On a thread: the largest body takes more than a second to tokenize, and every other stream would stand still.
        loop = asyncio.get_running_loop()
        prompts, plans, languages = await loop.run_in_executor(self._readers, self._read, job)
        requests = [
            (place, request)
            for place, (plan, ids) in enumerate(zip(plans, prompts, strict=True))
            for request in self._asked(job, plan, place, ids)
        ]
        subscription = await self._engine.submit([request for _, request in requests], may_refuse=not job.accepted)
        prompt_of = {number: place for number, (place, _) in zip(subscription.numbers, requests, strict=True)}
        try:
            yield self._batch([self._accepted(plans[0], prompts, languages)])
            unfinished = sum(request.n for _, request in requests)
            while unfinished:
                updates = await subscription.take()
                described = functools.partial(self._pieces, job, prompt_of, updates)
                # The names of a long prompt take a while, in which every other stream would stand still.
                long = sum(len(update.prompt) for update in updates) > _NAMED_AT_ONCE
                pieces = await loop.run_in_executor(self._readers, described) if long else described()
                unfinished -= sum(piece.finish is not None for piece in pieces)
                yield self._batch(pieces)
                # Meanwhile the engine goes on: a call between deployments costs more than one small step.
                if unfinished and self._pace:
                    await asyncio.sleep(self._pace)
        finally:
            self._engine.cancel(subscription)

    async def encode(self, text: str, with_start: bool) -> list[int]:
        """See Backend. Raises ServingError for text that is not Unicode."""
        ids = await asyncio.to_thread(self._ids, text)
        # A client asks so for the ids of the special tokens that it was told of; a prompt that spells one stays text.
        special = self._ensemble.tokenizer.special(text)
        ids = ids if special is None else [ids[0], special]
        return ids if with_start else ids[1:]

    async def decode(self, ids: Sequence[int]) -> str:
        """See Backend. Raises ServingError for ids that the vocabulary does not have."""
        return await asyncio.to_thread(self._ensemble.tokenizer.decode, self._known(ids))

    def close(self) -> None:
        """End the threads of the engine and of those that read prompts."""
        self._engine.close()
        self._readers.shutdown(cancel_futures=True)

    def _batch(self, events: Sequence[Accepted | Piece]) -> Batch:
        return Batch(events, self._name, self._engine.load)

    def _read(self, job: Job) -> tuple[list[list[int]], list[Plan], tuple[TextLanguage, ...]]:
        """Ids of each prompt, its plan and its language; no languages for a single model."""
        prompts = [self._ids(prompt) for prompt in job.prompts]
        for ids in prompts:
            require_room(self._capacity, len(ids), 1 if job.fitted else job.sampling.max_tokens)  # before more is done
        if job.model != MIXTURE:
            return prompts, [plan_of(self._ensemble, job.model, job.mixing)] * len(prompts), ()
        wanted = job.mixing.language is None and wants_language(self._ensemble, job.mixing)
        by_language: dict[str | None, Plan] = {}
        plans, languages = [], []
        for prompt, ids in zip(job.prompts, prompts, strict=True):
            text = prompt if isinstance(prompt, str) else self._ensemble.tokenizer.decode(ids)
            found = self._languages.of(text, job.mixing.language)
            # A given one too: the allocator, shares and answers know languages by our codes alone.
            named = found.code if found.source == "given" or wanted else None
            if named not in by_language:
                by_language[named] = plan_of(self._ensemble, job.model, replace(job.mixing, language=named))
            plans.append(by_language[named])
            languages.append(replace(found, weighs=plans[-1].by_language))
        return prompts, plans, tuple(languages)

    def _accepted(self, plan: Plan, prompts: Sequence[Sequence[int]], languages: tuple[TextLanguage, ...]) -> Accepted:
        """plan: of any prompt, they differ in their language alone."""
        counts, served = tuple(map(len, prompts)), self._ensemble
        return Accepted(counts, plan.names, plan.weighting, plan.drop_below, languages, served.version, served.release)

    def _asked(self, job: Job, plan: Plan, prompt: int, ids: Sequence[int]) -> list[Request]:
        """The requests of one prompt: one for all its texts, or one for each that is to go on."""
        whole = self._request(job, plan, prompt, ids)
        if job.going_on is None:
            return [whole]
        return [
            replace(whole, n=1, first=text, made=list(progress.made), echo=job.echo and not progress.prompt)
            for text in range(job.n)
            if (progress := job.going_on.get(prompt * job.n + text)) is not None
        ]

    def _ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, Conversation):
            for number, turn in enumerate(prompt.turns):
                for part, text in turn.items():
                    _require_whole(text, f"messages[{number}].{part}")
            return self._ensemble.tokenizer.chat_prompt(prompt.turns)
        if isinstance(prompt, str):
            _require_whole(prompt, "prompt")
            tokenizer = self._ensemble.tokenizer
            return [tokenizer.start_id, *tokenizer.encode_batch([prompt])[0].tolist()]
        if not prompt:
            raise ServingError("prompt holds no token; give at least one")
        return self._known(prompt)

    def _known(self, ids: Sequence[int]) -> list[int]:
        wrong = next((i for i in ids if not 0 <= i < self._ensemble.tokenizer.vocab_size), None)
        if wrong is not None:
            raise ServingError(f"token id {wrong}; ids run from 0 to {self._ensemble.tokenizer.vocab_size - 1}")
        return list(ids)

    def _request(self, job: Job, plan: Plan, prompt: int, ids: Sequence[int]) -> Request:
        ends = set(self._known(job.stop_ids))
        # The engine does not report a token that ends a text. One that was asked for ends it in any case.
        if not _scores_the_last(job):
            ends.add(self._ensemble.tokenizer.end_id)
        seed, most = job.sampling.seed, job.sampling.max_tokens
        if job.fitted:
            most = min(most, self._capacity.length - len(ids))
        if job.apart and seed is not None:
            seed = derive_seed(seed, "prompt", prompt)
        return Request(
            prompt=ids,
            experts=plan.experts,
            weigher=plan.weigher,
            decoder=self._ensemble.tokenizer.stream,
            sampling=replace(job.sampling, max_tokens=most, seed=seed),
            stops=job.stops,
            stop_ids=frozenset(ends),
            n=job.n,
            logprobs=job.logprobs,
            echo=job.echo,
        )

    def _pieces(self, job: Job, prompt_of: Mapping[int, int], updates: Sequence[Update]) -> list[Piece]:
        """prompt_of: request -> number of its prompt."""
        return [self._piece(job, prompt_of[update.request], update) for update in updates]

    def _piece(self, job: Job, prompt: int, update: Update) -> Piece:
        if update.error is not None:
            raise update.error
        finish: FinishReason | None = update.finish
        if finish and _scores_the_last(job) and update.steps:
            finish = "stop" if update.steps[-1].token == self._ensemble.tokenizer.end_id else finish
        return Piece(
            prompt * job.n + update.choice,
            [self._token(job, step) for step in update.steps],
            [self._token(job, step) for step in update.prompt],
            finish,
            _effort(update.work) if finish else None,
        )

    def _token(self, job: Job, step: Step) -> Token:
        tokenizer, logprobs = self._ensemble.tokenizer, job.logprobs
        if logprobs is None or step.log_prob is None:
            return Token(step.token, tokenizer.name(step.token), step.piece, None, {}, step.weights.tolist())
        log_prob = max(step.log_prob, _LEAST)
        likely = _with_own(step, log_prob) if logprobs else []
        if isinstance(job.prompts[0], Conversation):
            likely = likely[:logprobs]  # the token itself stands beside the most probable ones, not among them
        # Two tokens may be the same text; as one key the less probable would hide the other.
        names = tokenizer.names([step.token, *(token for token, _ in likely)])
        top = {names[token]: value for token, value in likely}
        # A name that is no spelling is the text itself, and needs no further look.
        spelt = {name: token for token, name in names.items() if name == tokenizer.spelling(token)}
        raw = {name: found for name, token in spelt.items() if (found := tokenizer.bytes_of(token)) != name.encode()}
        return Token(step.token, names[step.token], step.piece, log_prob, top, step.weights.tolist(), raw)


def _require_whole(text: str, where: str) -> None:
    # JSON may hold one as an escape, and UTF-8, which the tokenizer takes, cannot.
    lone = next((i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    if lone is not None:
        raise ServingError(f"{where} holds half a surrogate pair at character {lone}; send whole characters")


def _effort(work: Work) -> Effort:
    means = np.mean(work.weights, axis=0).tolist() if work.weights else ()
    return Effort(work.made, work.passes, work.drafted, work.kept, means)


def _with_own(step: Step, log_prob: float) -> list[tuple[int, float]]:
    """The most probable tokens, the step's own among them, with the very value that is reported for it.

    Clients take a token for the most probable one if its value equals the largest; the two were rounded on two ways.
    """
    others = [(token, max(value, _LEAST)) for token, value in step.top if token != step.token]
    if step.top and step.top[0][0] == step.token:
        others = [(token, min(value, log_prob)) for token, value in others]
        return [(step.token, log_prob), *others]
    return sorted([*others, (step.token, log_prob)], key=lambda pair: -pair[1])


def _scores_the_last(job: Job) -> bool:
    """Whether a single token is asked for with its log-probability: then also an end token is reported.

    Clients that score texts ask for one token more and count on its entry.
    """
    return job.logprobs is not None and job.sampling.max_tokens == 1
