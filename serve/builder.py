"""The Serve application: ``serve run serve.builder:app run=demo``, or ``deploy/serve.yaml``.

Two deployments: the ingress speaks HTTP, the models make texts; what crosses between them is a batch of tokens.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from app.artifacts.store import Store
from app.core.errors import ConfigError, XelmError
from app.ensemble.engine import Limits
from serve.doors import keys_of, require_keys
from serve.ingress import make_api
from serve.limits import ServingLimits
from serve.loading import load_ensemble
from serve.messages import Batch, Description, Job
from serve.replica import Replica

log = logging.getLogger(__name__)
PACE_S = 0.02
"""Seconds between two batches of one request: a call between deployments costs about a quarter of it."""


class ServingOptions(BaseModel):
    """Arguments of the application.

    run, root (artifacts.root), version (the current one where not given): what is served. replicas: of the models, each
    with all experts on ``cpus`` and ``gpus``; with GPUs the models are on the first of them. slots: texts that a
    replica makes at once; context: tokens of each, as many as the models allow where not given.
    """

    model_config = ConfigDict(extra="forbid")

    run: str = "demo"
    root: str = "artifacts"
    version: int | None = Field(default=None, ge=1)
    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    slots: int = Field(default=16, ge=1)
    context: int | None = Field(default=None, ge=2)
    allow_without_keys: bool = False
    limits: ServingLimits = ServingLimits()


class Models:
    """All models of a run, in one process (the deployment ``models``)."""

    async def __init__(self, options: ServingOptions) -> None:  # type: ignore[misc]  # Serve awaits it
        """Load and warm them; not ready before. What is wrong stands in the log as one line."""
        try:
            device = "cuda" if options.gpus else "cpu"
            ensemble = load_ensemble(Store(options.root), options.run, options.version, device)
            waiting = Limits(waiting=options.limits.waiting, n=options.limits.n)
            self._replica = Replica(ensemble, options.slots, options.context, waiting, PACE_S)
            await self._replica.warm()
        except XelmError as error:
            log.error("%s", error)
            raise

    def check_health(self) -> None:
        """Serve replaces a replica for which this raises."""
        self._replica.require_health()

    async def describe(self) -> Description:
        """See Backend."""
        return await self._replica.describe()

    async def answer(self, job: Job) -> AsyncIterator[Batch]:
        """See Backend."""
        batches = self._replica.answer(job)
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()  # type: ignore[attr-defined]  # a generator

    async def encode(self, text: str, with_start: bool) -> list[int]:
        """See Backend."""
        return await self._replica.encode(text, with_start)

    async def decode(self, ids: Sequence[int]) -> str:
        """See Backend."""
        return await self._replica.decode(ids)

    async def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """See Backend."""
        return await self._replica.chat_prompt(messages)


class HandleBackend:
    """A Backend behind a handle of Serve. Errors are those that the replica raised, without Ray's account of them."""

    def __init__(self, models: DeploymentHandle) -> None:
        self._models = models

    async def describe(self) -> Description:
        """See Backend."""
        found: Description = await _plainly(self._models.describe.remote())
        return found

    async def answer(self, job: Job) -> AsyncIterator[Batch]:
        """See Backend."""
        batches = self._models.options(stream=True).answer.remote(job)
        try:
            async for batch in batches:
                yield batch
        except RayTaskError as error:
            raise own_error(error) from None
        finally:
            batches.cancel()

    async def encode(self, text: str, with_start: bool) -> list[int]:
        """See Backend."""
        ids: list[int] = await _plainly(self._models.encode.remote(text, with_start))
        return ids

    async def decode(self, ids: Sequence[int]) -> str:
        """See Backend."""
        text: str = await _plainly(self._models.decode.remote(ids))
        return text

    async def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """See Backend."""
        ids: tuple[int, ...] = await _plainly(self._models.chat_prompt.remote(messages))
        return ids


async def _plainly(response: Awaitable[Any]) -> Any:
    try:
        return await response
    except RayTaskError as error:
        raise own_error(error) from None


def own_error(error: RayTaskError) -> Exception:
    """What a replica raised. The text of Ray's error holds the traceback, which is nobody's business."""
    return error.cause if isinstance(error.cause, Exception) else RuntimeError("a replica failed")


class Ingress:
    """HTTP (the deployment ``ingress``)."""

    def __init__(self, models: DeploymentHandle, options: ServingOptions) -> None:
        self._backend, self._options = HandleBackend(models), options

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the object is made. Raises ConfigError (``require_keys``)."""
        keys = keys_of()
        client = _get_global_client()
        host = str(client.http_config.host) if client is not None else ""
        try:
            require_keys(host, keys, self._options.allow_without_keys)
        except ConfigError as error:
            log.error("%s", error)
            raise
        return make_api(self._backend, self._options.limits, keys)


def app(args: dict[str, Any]) -> Application:
    """The ensemble of a run behind HTTP, packed: each replica holds all models, a token costs no hop.

    args: see ServingOptions; Ray passes what the command line or the config file says. Raises ConfigError.
    """
    try:
        options = ServingOptions.model_validate(args)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"serving argument {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    models = serve.deployment(Models).options(
        name="models",
        num_replicas=options.replicas,
        max_ongoing_requests=options.slots + options.limits.waiting,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
    )
    ingress = serve.deployment(serve.ingress()(Ingress)).options(
        name="ingress",
        max_ongoing_requests=options.limits.concurrent + 8,  # room to say that there is none
        ray_actor_options={"num_cpus": 0},
    )
    application: Application = ingress.bind(models.bind(options), options)
    return application
