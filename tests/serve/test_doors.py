from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from app.core.errors import ConfigError
from serve.doors import BodyLimit, KeyDoor, keys_of, require_keys
from serve.limits import ServingLimits
from tests.support.serving import post, served

KEYS = ("one", "two")


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


def test_with_keys_every_route_but_health_and_readiness_asks_for_one() -> None:
    with served(keys=KEYS) as client:
        routes = [*client.app.openapi()["paths"], "/", "/playground.js", "/openapi.json", "/nowhere"]  # type: ignore[attr-defined]
        answers = {route: client.get(route).status_code for route in routes}
    assert answers.pop("/health") == answers.pop("/ready") == 200
    assert len(answers) > 8 and set(answers.values()) == {401}


@pytest.mark.parametrize("root", ["/xelm", "/xelm/", "", "/"])
def test_behind_a_route_prefix_health_and_readiness_are_open_and_nothing_else(root: str) -> None:
    def status(path: str) -> Any:
        return through(KeyDoor, [{"status": 200}], [], {"path": root.rstrip("/") + path, "root_path": root}, keys=KEYS)[
            0
        ]["status"]

    assert status("/health") == status("/ready") == 200
    assert {status(path) for path in ("", "/", "/v1/models", "/health/x", "/xelm/health", "/v1/health")} == {401}


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1", "127.0.0.1:8000", "127.9.0.1", "[::1]", "[::1]:8"]
)
def test_without_keys_this_machine_may_be_asked_for(host: str) -> None:
    with served(any_host=False) as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["testserver", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.3", "", "[::2]:8"]
)
def test_without_keys_another_host_is_refused_in_openais_shape(host: str) -> None:
    with served(any_host=False) as client:
        answer = client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert repr(host) in error["message"] and "XELM_API_KEYS" in error["message"] and set(error) > {"type", "code"}


def test_with_keys_or_a_word_any_host_may_be_asked_for() -> None:
    with served(keys=KEYS, any_host=False) as client:
        assert client.get("/v1/models", headers={"Authorization": "Bearer one"}).status_code == 200
    with served(any_host=True) as client:
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "given", ["", "Bearer three", "Bearer", "Bearer ", "one", "Basic one", basic("three"), basic(""), "Bearer one two"]
)
def test_a_wrong_key_is_answered_in_openais_shape(given: str) -> None:
    with served(keys=KEYS) as client:
        answer = client.get("/v1/models", headers={"Authorization": given} if given else {})
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("given", ["Bearer one", "Bearer two", "bearer one", basic("two")])
def test_each_of_several_keys_opens(given: str) -> None:
    with served(keys=KEYS) as client:
        assert client.get("/v1/models", headers={"Authorization": given}).status_code == 200


def test_a_key_is_compared_with_all_keys_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def noted(key: bytes, given: bytes) -> bool:
        compared.append((key, len(given)))
        return key == given

    monkeypatch.setattr(hmac, "compare_digest", noted)
    with served(keys=KEYS) as client:
        assert client.get("/v1/models", headers={"Authorization": "Bearer one"}).status_code == 200
    assert compared == [(hashlib.sha256(key.encode()).digest(), 32) for key in KEYS]  # not even a key's length shows


def test_keys_are_read_from_the_environment() -> None:
    assert keys_of({"XELM_API_KEYS": " one, two,,"}) == ("one", "two")
    assert keys_of({}) == keys_of({"XELM_API_KEYS": " , "}) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_the_loopback_may_be_listened_on_without_keys(host: str) -> None:
    require_keys(host, (), False)


@pytest.mark.parametrize("host", ["10.0.0.3", "::", "example.org", ".".join("0000"), ""])
def test_beyond_it_keys_or_a_word_are_needed(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_without_keys: true"):
        require_keys(host, (), False)
    require_keys(host, ("key",), False)
    require_keys(host, (), True)


def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_said_or_not() -> None:
    body = json.dumps({"prompt": "12 ", "max_tokens": 1}).encode()
    headers = {"content-type": "application/json"}
    with served(limits=ServingLimits(body_bytes=len(body))) as client:
        for content in (body, iter([body[:9], body[9:]])):
            assert client.post("/v1/completions", content=content, headers=headers).status_code == 200
        for content in (body + b" ", iter([body, b" "])):
            answer = client.post("/v1/completions", content=content, headers=headers)
            assert answer.status_code == 413 and f"the {len(body)} bytes allowed" in answer.json()["error"]["message"]
        assert post(client, prompt="1", max_tokens=1).status_code == 200


def through(
    door: Any, messages: list[dict[str, Any]], headers: list[tuple[bytes, bytes]], scope: Any = None, **settings: Any
) -> list[dict[str, Any]]:
    """What is sent back by a door before an application that echoes, if the client goes silent after its messages."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def echo(_scope: Any, receive: Any, send: Any) -> None:
        await send(await receive())

    asyncio.run(door(echo, **settings)({"type": "http", "headers": headers, **(scope or {})}, receive, send))
    return sent


def read(messages: list[dict[str, Any]], headers: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    return through(BodyLimit, messages, headers, most=5, seconds=0.1)


def test_a_body_that_does_not_come_to_its_end_is_left_after_a_while() -> None:
    status, body = read([{"type": "http.request", "body": b"a", "more_body": True}], [])
    assert status["status"] == 408 and b"longer than 0.1 s" in body["body"]


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"x", b"", b"2"])
def test_a_length_that_is_no_number_is_not_believed(length: bytes) -> None:
    message = {"type": "http.request", "body": b"ab", "more_body": False}
    assert read([message], [(b"content-length", length)]) == [{"type": "http.request", "body": b"ab"}]


@pytest.mark.parametrize("length", [b"6", b"9" * 5000])
def test_a_length_beyond_the_limit_is_refused_before_a_byte_is_read(length: bytes) -> None:
    assert read([], [(b"content-length", length)])[0]["status"] == 413
