"""Load, time, faults and clients that go away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core.errors import Overloaded
from app.ensemble.engine import Load
from serve import ingress
from serve.ingress import make_api
from serve.limits import ServingLimits
from serve.messages import Accepted, Batch, Job, Piece, Token
from serve.replay import NotLoaded
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble
from tests.support.serving import post

TOKEN = Token(0, "a", "a", None, {}, [1.0])


@contextlib.asynccontextmanager
async def started(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that runs."""
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://h") as client,
    ):
        yield client


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait for its models."""
    while (await client.get("/ready")).status_code != 200:
        await asyncio.sleep(0.01)


class Slow(Replica):
    """Says "a" for ever, or what else it is told; notes which jobs have ended."""

    def __init__(self, refuses: Exception | None = None, breaks: Exception | None = None, loads: bool = True) -> None:
        super().__init__(demo_ensemble(), slots=1)
        self.refuses, self.breaks, self.loads = refuses, breaks, loads
        self.begun, self.ended = 0, 0
        self.lacks: Exception | None = None

    async def describe(self) -> Any:
        """As a replica does, or never."""
        if self.lacks:
            raise self.lacks
        if not self.loads:
            raise RuntimeError("not there yet")
        return await super().describe()

    async def answer(self, job: Job) -> AsyncIterator[Batch]:
        """Endless."""
        if self.refuses:
            raise self.refuses
        self.begun += 1
        try:
            yield _batch([Accepted([1], ["dense"], None, 0.0)])
            for _ in range(10_000):
                yield _batch([Piece(0, [TOKEN])])
                await asyncio.sleep(0.01)
                if self.breaks:
                    raise self.breaks
        finally:
            self.ended += 1


def _batch(events: Sequence[Any]) -> Batch:
    return Batch(events, "r", Load(1, 0, 1))


def asked(backend: Slow, **body: Any) -> Any:
    limits = ServingLimits(timeout_s=0.3, concurrent=1)
    with TestClient(make_api(backend, limits, any_host=True), raise_server_exceptions=False) as client:
        for _ in range(50):
            if client.get("/ready").status_code == 200:
                break
        return post(client, prompt="x", **body)


def test_an_answer_that_takes_too_long_ends_with_504_and_frees_what_it_held() -> None:
    backend = Slow()
    answer = asked(backend)
    assert answer.status_code == 504 and "longer than the 0.3 s" in answer.json()["error"]["message"]
    assert backend.begun == backend.ended == 1


def test_a_stream_that_takes_too_long_says_so_in_its_last_event() -> None:
    backend = Slow()
    events = asked(backend, stream=True).text.split("\n\n")
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["text"] == "a"
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "timeout" and "[DONE]" not in events
    assert backend.begun == backend.ended == 1


@pytest.mark.parametrize("stream", [True, False])
def test_too_many_requests_are_429_with_a_time_to_come_again(stream: bool) -> None:
    answer = asked(Slow(refuses=Overloaded("9 texts wait already")), stream=stream)
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "overloaded"


@pytest.mark.parametrize("stream", [True, False])
def test_a_bug_is_answered_without_its_message(stream: bool) -> None:
    answer = asked(Slow(refuses=RuntimeError("secret detail")), stream=stream)
    assert answer.status_code == 500 and "secret" not in answer.text and "error" in answer.json()


@pytest.mark.parametrize("stream", [True, False])
def test_the_metrics_count_a_bug_as_a_500(stream: bool) -> None:
    backend = Slow(refuses=RuntimeError("a bug"))
    with TestClient(make_api(backend, any_host=True), raise_server_exceptions=False) as client:
        post(client, prompt="x", stream=stream)
        counts = re.findall(r'^xelm_requests_total\{route="/v1/comp.*', client.get("/metrics").text, re.M)
    assert counts == ['xelm_requests_total{route="/v1/completions",status="500"} 1.0']


def test_a_bug_within_a_stream_is_an_event_without_its_message() -> None:
    answer = asked(Slow(breaks=RuntimeError("secret detail")), stream=True)
    assert "secret" not in answer.text and "the server failed on this request" in answer.text


def test_until_the_models_are_loaded_it_is_alive_and_not_ready() -> None:
    backend = Slow(loads=False)
    with TestClient(
        make_api(backend, ServingLimits(loading_s=0), any_host=True), raise_server_exceptions=False
    ) as client:
        assert client.get("/health").status_code == 200
        for answer in (client.get("/ready"), client.get("/v1/models"), post(client, prompt="x")):
            assert answer.status_code == 503 and answer.headers["retry-after"]
            assert answer.json()["error"]["code"] == "not_ready"


def test_a_request_waits_for_models_that_are_being_loaded_and_is_answered() -> None:
    backend = Slow(loads=False)
    with TestClient(
        make_api(backend, ServingLimits(timeout_s=0.3), any_host=True), raise_server_exceptions=False
    ) as client:
        threading.Timer(0.5, setattr, (backend, "loads", True)).start()
        answer = post(client, prompt="x")
    assert answer.status_code == 504 and backend.begun == 1, "it never ends, so it was begun"


def test_models_that_cannot_be_started_any_more_are_forgotten_until_they_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingress, "_LOOK_S", 0.01)
    monkeypatch.setattr(ingress, "_RETRY_S", 0.01)
    backend = Slow()
    with TestClient(
        make_api(backend, ServingLimits(loading_s=0), any_host=True), raise_server_exceptions=False
    ) as client:

        def becomes(status: int) -> Any:
            while (answer := client.get("/ready")).status_code != status:
                pass
            return answer

        becomes(200)
        backend.lacks = NotLoaded("the models could not be started")
        assert becomes(503).json()["error"]["message"] == "the models could not be started"
        assert post(client, prompt="x").json()["error"]["code"] == "not_ready" and not backend.begun
        backend.lacks = None
        becomes(200)
        backend.loads = False  # nobody answers just now: what is known stays
        assert client.get("/ready").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_the_work(stream: bool) -> None:
    """By the ASGI messages that a server sends, since a test client never hangs up."""
    backend = Slow()
    api = make_api(backend, any_host=True)

    async def left() -> list[int]:
        body = json.dumps({"prompt": "x", "stream": stream}).encode()
        gone, seen = asyncio.Event(), 0
        headers = [(b"content-type", b"application/json")]

        async def receive() -> dict[str, Any]:
            nonlocal seen
            seen += 1
            if seen == 1:
                return {"type": "http.request", "body": body}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_message: dict[str, Any]) -> None:
            return None

        async with started(api) as client:
            await until_ready(client)
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/completions",
                "headers": headers,
                "query_string": b"",
            }
            running = asyncio.create_task(api(scope, receive, send))  # type: ignore[arg-type]
            while not backend.begun:
                await asyncio.sleep(0.01)
            before = backend.ended
            gone.set()
            await asyncio.wait_for(running, 20)
            return [before, backend.ended]

    assert asyncio.run(left()) == [0, 1]


def test_more_than_the_allowed_requests_at_once_are_refused() -> None:
    backend = Slow()
    api = make_api(backend, ServingLimits(concurrent=2, timeout_s=1.0), any_host=True)

    async def crowd() -> list[int]:
        async with started(api) as client:
            await until_ready(client)
            asks = [client.post("/v1/completions", json={"prompt": "x"}) for _ in range(4)]
            return sorted(answer.status_code for answer in await asyncio.gather(*asks))

    assert asyncio.run(crowd()) == [429, 429, 504, 504]
    assert backend.begun == backend.ended == 2


@pytest.mark.parametrize(("path", "body"), [("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [5]})])
def test_what_is_only_tokenized_counts_among_the_requests_at_once(path: str, body: dict[str, Any]) -> None:
    class Long(Slow):
        async def encode(self, text: str, with_start: bool) -> list[int]:
            """As a replica does, after a while."""
            await asyncio.sleep(0.3)
            return await super().encode(text, with_start)

        async def decode(self, ids: Sequence[int]) -> str:
            """As a replica does, after a while."""
            await asyncio.sleep(0.3)
            return await super().decode(ids)

    api = make_api(Long(), ServingLimits(concurrent=2), any_host=True)

    async def crowd() -> list[list[int]]:
        async with started(api) as client:
            await until_ready(client)
            rounds = []
            for _ in range(2):
                asks = [client.post(path, json=body) for _ in range(4)]
                rounds.append(sorted(answer.status_code for answer in await asyncio.gather(*asks)))
            return rounds

    assert asyncio.run(crowd()) == [[200, 200, 429, 429]] * 2


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
def test_those_who_wait_for_models_count_among_the_requests_at_once(path: str) -> None:
    class Silent(Slow):
        async def describe(self) -> Any:
            """Never."""
            await asyncio.Event().wait()

    api = make_api(Silent(), ServingLimits(concurrent=1, loading_s=0.5), any_host=True)

    async def crowd() -> list[list[int]]:
        async with started(api) as client:
            rounds = []
            for _ in range(2):  # whoever has waited in vain has given its place back
                asks = [client.post(path, json={"prompt": "x"}) for _ in range(3)]
                rounds.append(sorted(answer.status_code for answer in await asyncio.gather(*asks)))
            return rounds

    assert asyncio.run(crowd()) == [[429, 429, 503]] * 2
