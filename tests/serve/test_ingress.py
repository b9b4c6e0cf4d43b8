from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serve.ingress import make_api
from tests.support.ensembles import demo_ensemble


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make_api(demo_ensemble()), raise_server_exceptions=False) as opened:
        yield opened


def complete(client: TestClient, **body: Any) -> Any:
    whole = json.dumps({"prompt": "12 ", "max_tokens": 3, "temperature": 0, **body})  # httpx refuses to send infinity
    return client.post("/v1/completions", content=whole, headers={"content-type": "application/json"})


def test_models_are_the_ensemble_the_experts_and_what_stands_beside_them(client: TestClient) -> None:
    found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == ["ensemble", "expert-00", "expert-01", "dense"]


def test_a_completion_has_openais_shape_and_our_weights(client: TestClient) -> None:
    found = complete(client, xelm={"language": "en"}).json()
    assert found["object"] == "text_completion" and found["model"] == "ensemble" and found["id"].startswith("cmpl-")
    (choice,) = found["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] == "length" and choice["text"]
    assert choice["xelm"]["weights"] == {"expert-00": 0.0, "expert-01": 1.0}
    usage = found["usage"]
    assert usage["completion_tokens"] == 3 and usage["total_tokens"] == usage["prompt_tokens"] + 3


def test_several_prompts_are_answered_in_their_order(client: TestClient) -> None:
    both = complete(client, model="dense", prompt=["12 ", "Januar"]).json()["choices"]
    alone = [
        complete(client, model="dense", prompt=prompt).json()["choices"][0]["text"] for prompt in ("12 ", "Januar")
    ]
    assert [choice["text"] for choice in both] == alone and [choice["index"] for choice in both] == [0, 1]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": "gpt-4"}, 404, "no model 'gpt-4'; there are ensemble"),
        ({"max_tokens": 5000}, 400, "context is 128 tokens"),
        ({"max_tokens": "x"}, 400, "max_tokens: "),
        ({"prompt": "Januar " * 600}, 400, "context is 128 tokens, but the prompt has 604"),
        ({"prompt": "Januar " * 600, "xelm": {"language": "de"}}, 400, "context is 128 tokens"),
        ({"prompt": "Januar " * 600, "model": "dense"}, 400, "context is 128 tokens"),
        ({"prompt": [5] * 2000}, 400, "the prompt has 2000"),
        ({"prompt": "12 \ud800"}, 400, "half a surrogate pair at character 3"),
        ({"seed": 10**30}, 400, "seed: "),
        ({"stop": ["\n", ""]}, 400, "stop."),
        ({"temperature": float("inf")}, 400, "temperature: "),
        ({"xelm": {"temperature": float("inf")}}, 400, "xelm.temperature: "),
        ({"stream": True}, 400, "stream: "),
        ({"logprobs": 5}, 400, "logprobs: "),
        ({"frequency_penalty": 1}, 400, "frequency_penalty: "),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": [-1]}, 400, "token id -1"),
        ({"xelm": {"language": "tlh"}}, 400, "nearest known"),
        ({"xelm": {"lang": "de"}}, 400, "xelm.lang: "),
    ],
)
def test_an_error_is_openais_and_names_the_value(
    client: TestClient, body: dict[str, Any], status: int, message: str
) -> None:
    answer = complete(client, **body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert message in error["message"] and set(error) == {"message", "type", "param", "code"}


def test_a_body_that_is_no_json_and_a_path_that_is_not_there_are_answered_too(client: TestClient) -> None:
    broken = client.post("/v1/completions", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 400 and "error" in broken.json()
    assert client.get("/nowhere").json()["error"]["message"] == "Not Found"


def test_a_bug_is_answered_without_a_traceback(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("serve.ingress._complete", broken)
    answer = complete(client)
    assert answer.status_code == 500 and "secret" not in answer.text and "error" in answer.json()


def test_with_keys_every_route_but_health_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XELM_API_KEYS", "one, two")
    with TestClient(make_api(demo_ensemble())) as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer three"}, {"Authorization": "Bearer"}):
            answer = client.get("/v1/models", headers=headers)
            assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
        for key in ("one", "two"):
            assert client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
