"""The API over a small ensemble, without Ray: in this process, asked as a client asks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
) -> Iterator[TestClient]:
    """A client of the API; the models are there when it is given out."""
    replica = Replica(ensemble or demo_ensemble(), slots, limits=Limits(waiting=waiting))
    try:
        with TestClient(make_api(replica, limits, keys), raise_server_exceptions=False) as client:
            for _ in range(100):
                if client.get("/ready").status_code == 200:
                    break
            yield client
    finally:
        replica.close()


def post(client: TestClient, path: str = "/v1/completions", **body: Any) -> Any:
    """The response; httpx itself refuses to send infinity."""
    return client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, without the last, which must be [DONE]."""
    *events, done, rest = text.split("\n\n")
    assert done == "data: [DONE]" and rest == ""
    return [json.loads(event.removeprefix("data: ")) for event in events]
