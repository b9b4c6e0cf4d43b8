"""The Serve application: ``serve run serve.builder:app run=demo``, or ``deploy/serve.yaml``."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, ValidationError
from ray import serve
from ray.serve import Application

from app.artifacts.store import Store
from app.core.errors import ConfigError, XelmError
from serve.ensemble import load_ensemble
from serve.ingress import make_api

log = logging.getLogger(__name__)


class ServingOptions(BaseModel):
    """Arguments of the application. ``root``: artifacts.root; ``replicas`` hold all experts each."""

    model_config = ConfigDict(extra="forbid")

    run: str = "demo"
    root: str = "artifacts"
    replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


def app(args: dict[str, Any]) -> Application:
    """The ensemble of a run behind HTTP, packed: each replica holds all experts, a token costs no hop.

    args: see ServingOptions; Ray passes what the command line or the config file says. Raises ConfigError.
    """
    try:
        options = ServingOptions.model_validate(args)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"serving argument {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    store = Store(options.root)

    def api() -> FastAPI:
        try:
            return make_api(load_ensemble(store, options.run))
        except XelmError as error:
            log.error("%s", error)
            raise

    deployment = serve.deployment(serve.ingress(api)()).options(
        name="ensemble",
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
    )
    application: Application = deployment.bind()
    return application
