"""The API over a small ensemble, without Ray: in this process, asked as a client asks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.ensemble.engine import Limits
from serve.ingress import make_api
from serve.limits import ServingLimits
from serve.loading import LoadedEnsemble
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble


@contextmanager
def served(
    ensemble: LoadedEnsemble | None = None,
    limits: ServingLimits | None = None,
    keys: Sequence[str] = (),
    slots: int = 4,
    waiting: int = 256,
    any_host: bool = True,
) -> Iterator[TestClient]:
    """A client of the API; the models are there when it is given out. any_host: the client asks for ``testserver``."""
    replica = Replica(ensemble or demo_ensemble(), slots, limits=Limits(waiting=waiting))
    try:
        with TestClient(make_api(replica, limits, keys, any_host), raise_server_exceptions=False) as client:
            for _ in range(100):
                if client.get("/ready").status_code == 200:
                    break
            yield client
    finally:
        replica.close()


@contextmanager
def listening(api: FastAPI) -> Iterator[str]:
    """The address of the API on a free port of the loopback, once it answers."""
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join()


def post(client: TestClient, path: str = "/v1/completions", **body: Any) -> Any:
    """The response; httpx itself refuses to send infinity."""
    return client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, without the last, which must be [DONE]."""
    *events, done, rest = text.split("\n\n")
    assert done == "data: [DONE]" and rest == ""
    return [json.loads(event.removeprefix("data: ")) for event in events]
