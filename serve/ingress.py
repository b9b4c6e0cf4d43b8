"""The HTTP API over a backend: OpenAI's routes, tokenizer, health, metrics, playground."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from fastapi import FastAPI, Request, Response

from app.core.suggest import unknown_value
from serve.answering import Answering, Asked
from serve.answers import Shape
from serve.doors import BodyLimit, HostDoor, KeyDoor
from serve.limits import ServingLimits
from serve.measures import Counted, Measures
from serve.messages import Backend, Conversation, Description, Job
from serve.problems import UnknownModel, install_problems
from serve.replay import NotLoaded
from serve.schema import ChatRequest, CompletionRequest, DetokenizeRequest, GenerationRequest, TokenizeRequest
from serve.static_files import GET_AND_HEAD, add_playground

log = logging.getLogger(__name__)
_CHAT_TOKENS = 128
_RETRY_S = 1.0
_LOOK_S = 5.0
"""Seconds until a change of what is served is known here; texts are made by the new models before that."""


class _Models:
    """What is served, asked of the backend again and again: it may be changed while it is served."""

    def __init__(self, backend: Backend, patience_s: float, measures: Measures) -> None:
        self._backend, self._patience_s, self._measures = backend, patience_s, measures
        self.found: Description | None = None
        self._known = asyncio.Event()
        self._missing = NotLoaded("the models are still being loaded; ask again in a few seconds")

    async def learn(self) -> None:
        """Ask for ever. What is known stays while nobody answers, and is forgotten where nobody ever will."""
        while True:
            try:
                self.found = await self._backend.describe()
                self._measures.hear(self.found.replica, self.found.load)
                self._known.set()
            except NotLoaded as error:
                log.error("%s", error)
                self.found, self._missing = None, error
                self._known.clear()
            except Exception as error:  # whatever goes wrong behind, the models are not there
                log.warning("the models are not ready: %s", error)
            await asyncio.sleep(_RETRY_S if self.found is None else _LOOK_S)

    def get(self) -> Description:
        """Raises NotLoaded."""
        if self.found is None:
            raise NotLoaded(str(self._missing))  # a new one: an error that is raised grows by each raise
        return self.found

    async def require(self, model: str) -> None:
        """Raise UnknownModel for a model that is not served, NotLoaded where none is known after some patience."""
        # In a change of version a new ingress may be there before a replica of the new models: no request is lost.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), self._patience_s)
        names = [info.name for info in self.get().models]
        if model not in names:
            raise UnknownModel(unknown_value("model", model, names))


def make_api(
    backend: Backend, limits: ServingLimits | None = None, keys: Sequence[str] = (), any_host: bool = False
) -> FastAPI:
    """The API; without keys it is open to whoever reaches it by a name of this machine, or with any_host by any."""
    limits = limits or ServingLimits()
    measures = Measures()
    models = _Models(backend, limits.loading_s, measures)

    @contextlib.asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        learning = asyncio.create_task(models.learn())
        yield
        learning.cancel()

    # FastAPI's pages of documentation load scripts from another host; the schema itself is served.
    api = FastAPI(title="X-ELM", docs_url=None, redoc_url=None, lifespan=lifespan)
    install_problems(api)
    # The one added last is outermost: a body is read only of who has a key, and refusals are counted too.
    api.add_middleware(BodyLimit, most=limits.body_bytes, seconds=limits.body_s)
    api.add_middleware(KeyDoor, keys=keys)
    if not (keys or any_host):
        api.add_middleware(HostDoor)
    api.add_middleware(Counted, measures=measures)

    answering = Answering(backend, limits, measures, models.require)

    _add_state(api, models, measures)
    _add_models(api, models, answering)
    _add_tokenizer(api, backend, models, answering, limits.timeout_s)
    _add_completions(api, answering, min(_CHAT_TOKENS, limits.max_tokens))
    add_playground(api)
    return api


def _add_state(api: FastAPI, models: _Models, measures: Measures) -> None:
    # Two routes for each: the one that is asked also takes HEAD, the other is what the schema says of it.
    @api.get("/health")
    @api.api_route("/health", methods=GET_AND_HEAD, include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/ready")
    @api.api_route("/ready", methods=GET_AND_HEAD, include_in_schema=False)
    async def ready() -> dict[str, str]:
        models.get()
        return {"status": "ready"}

    @api.get("/metrics")
    async def metrics() -> Response:
        return Response(measures.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_models(api: FastAPI, models: _Models, answering: Answering) -> None:
    def cards() -> list[dict[str, object]]:
        found = models.get()
        return [
            {
                "id": info.name,
                "object": "model",
                "created": found.loaded_at,
                "owned_by": "xelm",
                "max_model_len": found.context,
                "xelm": {
                    "kind": info.kind,
                    "languages": list(info.languages),
                    "run": found.run,
                    "version": found.version,
                },
            }
            for info in found.models
        ]

    @api.get("/v1/models")
    async def list_models() -> dict[str, object]:
        return {"object": "list", "data": cards()}

    @api.get("/v1/models/{model}")
    async def one_model(model: str) -> dict[str, object]:
        # What does no work holds a place only while it waits.
        with answering.place() if models.found is None else contextlib.nullcontext():
            await models.require(model)
        return next(card for card in cards() if card["id"] == model)


def _add_tokenizer(api: FastAPI, backend: Backend, models: _Models, answering: Answering, seconds: float) -> None:
    """seconds: that a request may take once the models are known."""

    @api.get("/tokenizer_info")
    async def tokenizer_info() -> Mapping[str, str | None]:
        return models.get().tokenizer

    @api.post("/tokenize")
    async def tokenize(request: TokenizeRequest) -> dict[str, object]:
        with answering.place():
            await models.require(request.model)
            async with asyncio.timeout(seconds):
                ids = await backend.encode(request.prompt, request.add_special_tokens)
        return {"tokens": ids, "count": len(ids), "max_model_len": models.get().context}

    @api.post("/detokenize")
    async def detokenize(request: DetokenizeRequest) -> dict[str, str]:
        with answering.place():
            await models.require(request.model)
            async with asyncio.timeout(seconds):
                return {"prompt": await backend.decode(request.tokens)}


def _add_completions(api: FastAPI, answering: Answering, chat_tokens: int) -> None:
    """chat_tokens: most tokens of an answer in a chat that names no limit."""

    @api.post("/v1/completions", response_model=None)
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        job = _job(asked, asked.max_tokens)
        job = replace(job, prompts=asked.prompts(), logprobs=asked.logprobs, echo=asked.echo)
        return await answering.respond(
            request, Asked(job, "completion", asked.stream, asked.with_usage, asked.xelm.per_token)
        )

    @api.post("/v1/chat/completions", response_model=None)
    async def chat(asked: ChatRequest, request: Request) -> Response:
        named = asked.max_completion_tokens or asked.max_tokens
        job = replace(_job(asked, named or chat_tokens), fitted=named is None)
        logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
        job = replace(job, prompts=[Conversation(asked.turns())], logprobs=logprobs)
        shape: Shape = "chat.chunk" if asked.stream else "chat"
        return await answering.respond(request, Asked(job, shape, asked.stream, asked.with_usage, asked.xelm.per_token))


def _job(asked: GenerationRequest, max_tokens: int) -> Job:
    """The request without its prompts. A seed is drawn here, so that a replica that takes over has the same numbers."""
    sampling, drawn = asked.sampling(max_tokens), asked.seed is None
    if drawn:
        sampling = replace(sampling, seed=secrets.randbits(62))
    return Job(
        model=asked.model,
        prompts=(),
        sampling=sampling,
        stops=asked.stops(),
        stop_ids=tuple(asked.stop_token_ids),
        n=asked.n,
        mixing=asked.xelm.mixing(),
        # Who gives a seed gets the same text of a prompt whatever stands beside it; who gives none asks for samples.
        apart=drawn,
    )
