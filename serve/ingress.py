"""The HTTP API: ``/v1/completions``, ``/v1/models``, ``/health``."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
import uuid
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from app.ensemble.sampling import Sampling
from serve.ensemble import Generated, LoadedEnsemble
from serve.problems import install_problems, problem
from serve.schema import Choice, ChoiceXelm, Completion, CompletionRequest, ModelCard, ModelList, Usage

API_KEYS = "XELM_API_KEYS"
"""Environment variable: keys that open the API, comma-separated; without it the API is open to whoever reaches it."""
_OPEN = ("/health",)


def make_api(ensemble: LoadedEnsemble) -> FastAPI:
    """The API over a loaded ensemble; one request computes at a time, the others wait."""
    api = FastAPI(title="X-ELM", docs_url=None, redoc_url=None)
    install_problems(api)
    keys = [key.strip() for key in os.environ.get(API_KEYS, "").split(",") if key.strip()]
    turn = asyncio.Lock()

    @api.middleware("http")
    async def authorise(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        fits = [hmac.compare_digest(key.encode(), given) for key in keys]  # all of them: the time tells nothing
        if request.url.path in _OPEN or not keys or any(fits):
            return await go_on(request)
        return problem(401, "give a valid key as Authorization: Bearer <key>", code="invalid_api_key")

    @api.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[ModelCard(id=name, created=ensemble.loaded_at) for name in ensemble.names()])

    @api.post("/v1/completions", response_model=None)
    async def completions(request: CompletionRequest) -> Completion | Response:
        if request.model not in ensemble.names():
            known = ", ".join(ensemble.names())
            return problem(404, f"no model {request.model!r}; there are {known}", code="model_not_found")
        async with turn:
            texts = [await asyncio.to_thread(_complete, ensemble, request, prompt) for prompt in request.prompts()]
        return _answer(request, texts)

    return api


def _complete(ensemble: LoadedEnsemble, request: CompletionRequest, prompt: str | list[int]) -> Generated:
    sampling = Sampling(request.max_tokens, request.temperature, request.top_p, request.seed)
    return ensemble.complete(request.model, prompt, sampling, request.stops(), request.xelm)


def _answer(request: CompletionRequest, texts: list[Generated]) -> Completion:
    prompt, completion = sum(text.prompt_tokens for text in texts), sum(text.completion_tokens for text in texts)
    choices = [
        Choice(index=i, text=text.text, finish_reason=text.finish_reason, xelm=ChoiceXelm(weights=dict(text.weights)))
        for i, text in enumerate(texts)
    ]
    return Completion(
        id=f"cmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=request.model,
        choices=choices,
        usage=Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion),
    )
