from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app.ensemble.engine import Load
from serve import ingress, measures
from serve.measures import Counted, Measures
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble
from tests.support.serving import post


def values(page: str) -> dict[str, float]:
    return {line.split(" ")[0]: float(line.split(" ")[1]) for line in page.splitlines() if not line.startswith("#")}


def test_a_replica_that_is_heard_of_no_more_is_forgotten_and_another_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(measures, "time", SimpleNamespace(monotonic=lambda: now))
    under_test = Measures()
    under_test.hear("a", Load(3, 2, 4))
    under_test.hear("b", Load(1, 0, 4))
    now += 50
    under_test.hear("b", Load(2, 0, 4))
    found = values(under_test.page().decode())
    assert found['xelm_texts_running{replica="a"}'] == 3 and found['xelm_texts_waiting{replica="a"}'] == 2
    assert found['xelm_cache_use{replica="a"}'] == 0.75 and found['xelm_texts_running{replica="b"}'] == 2
    now += 50
    found = values(under_test.page().decode())
    assert {name for name in found if "replica=" in name} == {
        f'xelm_{name}{{replica="b"}}' for name in ("texts_running", "texts_waiting", "cache_use")
    }
    under_test.hear("a", Load(0, 0, 4))
    assert values(under_test.page().decode())['xelm_texts_running{replica="a"}'] == 0


@pytest.mark.parametrize(("begins", "counted"), [(False, "500"), (True, "200")])
def test_an_exception_is_counted_as_a_500_unless_the_answer_has_begun(begins: bool, counted: str) -> None:
    async def fails(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("a bug")

    async def received() -> Message:
        return {"type": "http.request"}

    async def sent(_message: Message) -> None:
        """To nobody."""

    under_test = Measures()
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(Counted(fails, under_test)({"type": "http"}, received, sent))
    found = {name: value for name, value in values(under_test.page().decode()).items() if "requests_total" in name}
    assert found == {f'xelm_requests_total{{route="other",status="{counted}"}}': 1}


def test_the_load_is_known_where_no_answer_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch of an answer says that its text still ran; so did the last one of a client that went away."""
    monkeypatch.setattr(ingress, "_LOOK_S", 0.05)
    replica = Replica(demo_ensemble(), slots=4)
    try:
        with TestClient(ingress.make_api(replica, any_host=True)) as client:
            post(client, prompt="12 ", max_tokens=4)
            name = f'xelm_texts_running{{replica="{replica._name}"}}'
            deadline = time.monotonic() + 20
            while values(client.get("/metrics").text).get(name) != 0 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert values(client.get("/metrics").text)[name] == 0
            monkeypatch.setattr(replica._engine, "load", Load(3, 5, 4))
            while values(client.get("/metrics").text)[name] != 3 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert values(client.get("/metrics").text)[name] == 3
    finally:
        replica.close()
