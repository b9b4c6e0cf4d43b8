"""The Serve application: ``serve run serve.builder:app run=demo``, or ``deploy/serve.yaml``.

The deployment ``ingress`` speaks HTTP, ``models`` makes texts; what crosses between them is a batch of tokens. Packed,
the models are in the process of ``models``; spread, each is a deployment of its own (``serve.spread``).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from app.artifacts.store import Store
from app.core.errors import ConfigError, XelmError
from app.ensemble.engine import Limits
from serve.doors import keys_of, require_keys
from serve.handles import HandleBackend
from serve.ingress import make_api
from serve.limits import ServingLimits
from serve.loading import keys_of_models, load_ensemble, record_of
from serve.messages import Batch, Description, Job
from serve.replica import Replica
from serve.spread import QUIET, connect, deploy_models

log = logging.getLogger(__name__)
PACE_S = 0.02
"""Seconds between two batches of one request: a call between deployments costs about a quarter of it."""
_ROOM = 8
"""Calls of an ingress beyond ``limits.concurrent``: room to say that there is none, and for short questions."""
_HEALTH_S = 1.0
"""Serve replaces a replica whose engine has stopped after three looks; until then it draws requests, which it sends on
to others at once, and they try no longer than eight seconds (``serve.replay.WAITS_S``).
"""
_SPARE_S = 30.0
"""Seconds that a replica which is to go has beyond its longest request: what it has begun it ends."""


class ServingOptions(BaseModel):
    """Arguments of the application.

    run, root (artifacts.root), version (the one that is current at the deployment where not given): what is served.
    replicas: packed, of all models together, each on ``cpus`` and ``gpus``, with GPUs on the first of them; spread, of
    each model on as much, and of what mixes them, without GPUs. max_replicas: where given, there are from ``replicas``
    to so many (spread: of what mixes), one for every ``slots`` requests that are being answered. slots: texts that a
    replica makes at once; context: tokens of each, as many as the models allow where not given.
    """

    model_config = ConfigDict(extra="forbid")

    run: str = "demo"
    root: str = "artifacts"
    version: int | None = Field(default=None, ge=1)
    placement: Literal["packed", "spread"] = "packed"
    replicas: int = Field(default=1, ge=1)
    max_replicas: int | None = Field(default=None, ge=1)
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    slots: int = Field(default=16, ge=1)
    context: int | None = Field(default=None, ge=2)
    allow_without_keys: bool = False
    limits: ServingLimits = ServingLimits()

    @model_validator(mode="after")
    def _ordered(self) -> ServingOptions:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas is {self.max_replicas}, less than the {self.replicas} replicas there are at least"
            )
        return self

    def at_the_door(self) -> ServingOptions:
        """The same for the ingress, which refuses a request of more texts than any replica could ever take."""
        texts = min(self.limits.texts, self.slots + self.limits.waiting)
        return self.model_copy(update={"limits": self.limits.model_copy(update={"texts": texts})})

    def scaling(self) -> dict[str, Any]:
        """How many replicas of the models there are, as options of a deployment."""
        if self.max_replicas is None:
            return {"num_replicas": self.replicas}
        bounds = {"min_replicas": self.replicas, "max_replicas": self.max_replicas}
        return {"autoscaling_config": {**bounds, "target_ongoing_requests": self.slots}}


class Models:
    """A run's ensemble (the deployment ``models``)."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, options: ServingOptions, elsewhere: dict[str, DeploymentHandle] | None = None
    ) -> None:
        """Load and warm the models; not ready before. What is wrong stands in the log as one line.

        elsewhere: the models by name, where they are not to be loaded here.
        """
        try:
            device = None if elsewhere else "cuda" if options.gpus else "cpu"
            ensemble = load_ensemble(Store(options.root), options.run, options.version, device)
            client = await connect(elsewhere, options.slots) if elsewhere else None
            waiting = Limits(waiting=options.limits.waiting, n=options.limits.n)
            self._replica = Replica(ensemble, options.slots, options.context, waiting, PACE_S, client)
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

    async def answer(self, job: Job) -> AsyncGenerator[Batch]:
        """See Backend."""
        # Closed by hand: a generator that is left in the middle is otherwise closed whenever Python collects it, and
        # its job would hold slots until then.
        batches = self._replica.answer(job)
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()

    async def encode(self, text: str, with_start: bool) -> list[int]:
        """See Backend."""
        return await self._replica.encode(text, with_start)

    async def decode(self, ids: Sequence[int]) -> str:
        """See Backend."""
        return await self._replica.decode(ids)


class Ingress:
    """HTTP (the deployment ``ingress``)."""

    def __init__(self, models: DeploymentHandle, options: ServingOptions) -> None:
        self._backend, self._options = HandleBackend(models), options

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the object is made. Raises ConfigError (``require_keys``)."""
        keys = keys_of()
        # The address is in no argument of ours: Serve's client has it from the controller.
        client = _get_global_client()
        host = str(client.http_config.host) if client is not None else ""
        try:
            require_keys(host, keys, self._options.allow_without_keys)
        except ConfigError as error:
            log.error("%s", error)
            raise
        return make_api(self._backend, self._options.limits, keys, any_host=self._options.allow_without_keys)


def app(args: dict[str, Any]) -> Application:
    """The ensemble of a run behind HTTP.

    args: see ServingOptions; Ray passes what the command line or the config file says. Without ``version`` the current
    one is taken here, once for all replicas that are ever started. Raises ConfigError, MissingArtifact for a run that
    is not finished, and other ArtifactErrors.
    """
    try:
        options = ServingOptions.model_validate(args)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"serving argument {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    store, elsewhere = Store(options.root), None
    record = record_of(store, options.run, options.version)
    # The same for all deployments, and for a replica that is added or replaced after another version became current.
    options = options.model_copy(update={"version": record.version})
    if options.placement == "spread":
        # The texts of all mixers may meet at one replica of an expert.
        pasts = options.slots * (options.max_replicas or options.replicas)
        sizes = (pasts, options.context, options.cpus, options.gpus)
        elsewhere = deploy_models(store, keys_of_models(store, record), options.replicas, *sizes)
    at_once = options.limits.concurrent + _ROOM
    models = serve.deployment(Models).options(
        name="models",
        **options.scaling(),
        **_drained(options.limits.timeout_s),
        health_check_period_s=_HEALTH_S,
        # All of two ingresses, of which one replaces the other: what is more than this a handle queues without bound
        # and without a word, while the engine's own queue is bounded and refuses.
        max_ongoing_requests=2 * at_once,
        logging_config=QUIET,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": 0 if elsewhere else options.gpus},
    )
    # No app is given: the routes need the handle, which a replica has only once its object is made.
    ingress = serve.deployment(serve.ingress()(Ingress)).options(
        name="ingress",
        max_surge_percent=100,  # it holds no memory to speak of, so the new one is there before the old one goes
        **_drained(options.limits.longest_s),
        max_ongoing_requests=at_once,
        ray_actor_options={"num_cpus": 0},  # it mostly waits, and finds a place where the models hold all cores
    )
    application: Application = ingress.bind(models.bind(options, elsewhere), options.at_the_door())
    return application


def _drained(longest_s: float) -> dict[str, float]:
    # Serve kills a replica after the timeout, and looks in between whether it is idle: by itself only every 2 s.
    return {"graceful_shutdown_timeout_s": longest_s + _SPARE_S, "graceful_shutdown_wait_loop_s": 0.5}
