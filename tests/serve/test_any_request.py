"""Whatever is sent, the server answers it, with no error of its own, and goes on: no 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from serve.limits import ServingLimits
from tests.support.serving import post, served

PATHS = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize")
FEW, MANY = 12, 1500
TINY, HUGE = 5e-324, 1.7e308


@pytest.fixture(scope="module")
def shared() -> Iterator[TestClient]:
    with served(limits=ServingLimits(max_tokens=4)) as client:
        yield client


@pytest.fixture
def client(shared: TestClient) -> Iterator[TestClient]:
    """Still alive after the test."""
    yield shared
    assert post(shared, prompt="12 ", max_tokens=2).status_code == 200


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def send(client: TestClient, path: str, body: Any) -> None:
    """The body is answered, and what is refused is refused in OpenAI's shape."""
    answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code < 500, (body, answer.text)
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def follow_the_schema(client: TestClient, path: str, mode: GenerationMode, examples: int) -> None:
    operation = schemathesis.openapi.from_dict(client.app.openapi())[path]["POST"]  # type: ignore[attr-defined]

    @bounded(examples)
    @given(operation.as_strategy(generation_mode=mode))
    def every(case: Case) -> None:
        request = case.as_transport_kwargs(base_url="http://testserver")
        request["content"] = request.get("data")
        known = ("method", "url", "params", "headers", "json", "content")
        answer = client.request(**{name: request[name] for name in known if request.get(name) is not None})
        assert answer.status_code < 500, (request, answer.text)

    every()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does_not_fit"])
@pytest.mark.parametrize("path", PATHS)
def test_what_the_schema_allows_and_what_it_does_not(client: TestClient, path: str, mode: GenerationMode) -> None:
    follow_the_schema(client, path, mode, FEW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
POSITIVE = st.sampled_from([TINY, 1e-300, 1e-9, 0.1, 1.0, 2.0, 1e30, HUGE])
TOKENS = st.lists(st.integers(0, 2047), min_size=1, max_size=6)
MIXING = st.fixed_dictionaries(
    {},
    optional={
        "language": st.sampled_from(["de", "en", "fr", "deu_Latn", "xx", ""]),
        "weighting": st.sampled_from(
            ["uniform", "fixed", "one_hot", "posterior", "bayes", "product_of_experts", "tfidf"]
        ),
        "temperature": POSITIVE,
        "top_m": st.integers(0, 3),
        "experts": st.lists(st.sampled_from(["expert-00", "expert-01"]), max_size=2)
        | st.dictionaries(st.sampled_from(["expert-00", "expert-01"]), st.just(0.0) | POSITIVE, max_size=2),
        "per_token": st.booleans(),
    },
)
PLAUSIBLE = st.fixed_dictionaries(
    {"prompt": st.text(max_size=12) | TOKENS | st.lists(st.text(max_size=4), min_size=1, max_size=2)},
    optional={
        "model": st.sampled_from(["ensemble", "expert-01", "dense"]),
        "max_tokens": st.integers(0, 4),
        "temperature": st.just(0.0) | POSITIVE,
        "top_p": st.sampled_from([TINY, 1e-9, 0.5, 1.0]),
        "top_k": st.sampled_from([0, 1, 10**9]),
        "min_p": st.sampled_from([0.0, TINY, 0.5, 1.0]),
        "repetition_penalty": POSITIVE,
        "presence_penalty": st.sampled_from([-2.0, 0.0, TINY, 2.0]),
        "frequency_penalty": st.sampled_from([-2.0, 0.0, TINY, 2.0]),
        "logit_bias": st.dictionaries(st.integers(0, 2048).map(str), st.sampled_from([-100, TINY, 100]), max_size=3),
        "seed": st.integers(-(1 << 63), (1 << 63) - 1),
        "stop": st.text(max_size=2) | st.lists(st.text(min_size=1, max_size=2), max_size=2),
        "stop_token_ids": TOKENS,
        "n": st.integers(1, 2),
        "echo": st.booleans(),
        "logprobs": st.integers(0, 5),
        "stream": st.booleans(),
        "xelm": MIXING,
    },
)


def send_plausible(client: TestClient, examples: int) -> None:
    @bounded(examples)
    @given(PLAUSIBLE)
    def every(body: dict[str, Any]) -> None:
        send(client, "/v1/completions", body)

    every()


def send_spoilt(client: TestClient, examples: int) -> None:
    """A body with one field that holds anything."""
    fields = ["prompt", "messages", "tokens", "model", "xelm", "stop", "logit_bias", "stream_options", "n", "anything"]
    whole: dict[str, Any] = {"prompt": "12 ", "messages": [{"role": "user", "content": "12"}], "tokens": [5]}
    own = {
        path: {"prompt", "messages", "tokens"} - {name}
        for path, name in zip(PATHS, ("prompt", "messages", "prompt", "tokens"), strict=True)
    }

    @bounded(examples)
    @given(st.sampled_from(PATHS), st.sampled_from(fields) | st.text(max_size=8), JSON)
    def every(path: str, field: str, value: Any) -> None:
        body = {name: item for name, item in whole.items() if name not in own[path]}
        send(client, path, {**body, field: value})
        send(client, path, value)

    every()


def test_settings_at_the_ends_of_their_ranges_in_any_combination(client: TestClient) -> None:
    send_plausible(client, 5 * FEW)


def test_a_field_that_holds_anything_and_a_body_that_is_anything(client: TestClient) -> None:
    send_spoilt(client, 3 * FEW)


@pytest.mark.rare
@pytest.mark.timeout(900)
def test_very_many_of_all_of_them(client: TestClient) -> None:
    for path in PATHS:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            follow_the_schema(client, path, mode, MANY // 5)
    send_plausible(client, MANY)
    send_spoilt(client, MANY)


BOTH = ("expert-00", "expert-01")


@pytest.mark.parametrize("weighting", ["fixed", "posterior"])
@pytest.mark.parametrize("weights", [(HUGE, HUGE), (TINY, HUGE), (TINY, 0.0), (TINY, TINY)])
def test_weights_of_experts_may_be_as_large_or_small_as_a_float(
    client: TestClient, weights: tuple[float, float], weighting: str
) -> None:
    xelm = {"experts": dict(zip(BOTH, weights, strict=True)), "weighting": weighting}
    answer = post(client, prompt="12 ", max_tokens=2, xelm=xelm)
    assert answer.status_code == 200
    assert sum(answer.json()["choices"][0]["xelm"]["weights"].values()) == pytest.approx(1)


def _many(count: int, item: str) -> str:
    return ",".join(item.replace("#", str(number)) for number in range(count))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"prompt":[' + _many(100_000, "{}") + "]}", "prompt"),
        ('{"prompt":"x","stop":[' + _many(100_000, "1") + "]}", "stop"),
        ('{"prompt":"x","logit_bias":{' + _many(100_000, '"#":1') + "}}", "100000 entries are given; at most 1024"),
        ('{"prompt":"x","xelm":{"experts":{' + _many(5000, '"#":1') + "}}}", "experts"),
        ("{" + _many(100_000, '"f#":1') + "}", "100000 fields"),
        ('{"prompt":"x","model":"' + 1000 * "m" + '"}', "at most 200 characters"),
        ('{"prompt":"x","xelm":{"language":"' + 1000 * "l" + '"}}', "at most 200 characters"),
        ('{"prompt":' + 100_000 * "[" + 100_000 * "]" + "}", "parsing the body"),
        ('{"prompt":"x","seed":' + 5000 * "1" + "}", "parsing the body"),
        ('{"prompt":"x","\\ud800":1}', "unicode"),
    ],
    ids=lambda value: value[:12],
)
def test_a_body_made_to_be_costly_is_refused_in_one_short_message(client: TestClient, body: str, message: str) -> None:
    answer = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and message in answer.json()["error"]["message"] and len(answer.text) < 500
