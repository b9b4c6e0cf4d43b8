"""Which of many errors a client is told, over the API itself: the places are those of FastAPI and pydantic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.serving import post, served


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with served() as client:
        yield client


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": []}, "prompt: List should have at least 1 item after validation, not 0"),
        ({"prompt": 5}, "prompt: Input should be a valid string or a valid list"),
        ({"prompt": ["a", 1]}, "prompt.1: Input should be a valid string"),
        ({"prompt": [1, "a"]}, "prompt.1: Input should be a valid integer"),
        ({"prompt": [[1], [2, "a"]]}, "prompt.1.1: Input should be a valid integer"),
        ({"prompt": [True]}, "prompt.0: Input should be a valid string, a valid integer or a valid list"),
        ({"stop": ""}, "stop: String should have at least 1 character"),
        ({"stop": ["a", ""]}, "stop.1: String should have at least 1 character"),
        ({"stop": ["a", 4]}, "stop.1: Input should be a valid string"),
        (
            {"xelm": {"experts": {"a": 1, "b": -1, "c": -1}}},
            "xelm.experts.b: Input should be greater than or equal to 0",
        ),
        ({"xelm": {"experts": {"str": -1}}}, "xelm.experts.str: Input should be greater than or equal to 0"),
        ({"xelm": {"experts": ["a", 5]}}, "xelm.experts.1: Input should be a valid string"),
        ({"xelm": {"experts": 5}}, "xelm.experts: Input should be a valid list or a valid dictionary"),
        ({"xelm": {"experts": {str(i): 1 for i in range(2000)}}}, "xelm.experts: 2000 entries are given; at most 1024"),
    ],
)
def test_of_a_field_of_several_forms_the_one_that_fits_best_says_what_it_misses(
    client: TestClient, body: dict[str, Any], message: str
) -> None:
    answer = post(client, **{"prompt": "x", **body})
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "prompt: Field required"),
        ({"prompt": "x", "top_p": 2, "stop": 5}, "top_p: Input should be less than or equal to 1"),
        ({"prompt": "x", "stop": 5, "xelm": {"lang": "de"}}, "stop: Input should be a valid string or a valid list"),
        ({"prompt": "x", "xelm": {"lang": "de"}}, "xelm.lang: Extra inputs are not permitted"),
        ({"prompt": "x", "logit_bias": {"3": 1000}}, "logit_bias.3: Input should be less than or equal to 100"),
        ({"prompt": "x", "suffix": "y"}, "suffix is a field of OpenAI's API"),
    ],
)
def test_the_first_field_that_is_wrong_is_named(client: TestClient, body: dict[str, Any], message: str) -> None:
    assert post(client, **body).json()["error"]["message"].startswith(message)


def test_a_field_of_a_turn_is_named_by_its_place(client: TestClient) -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "user"}]
    answer = post(client, "/v1/chat/completions", messages=turns)
    assert answer.json()["error"]["message"] == "messages.1.content: Field required"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": }', "Expecting value at character 6"),
        (b'{"a": "x', "Unterminated string starting at character 6"),
        (b'{"a" 1}', "Expecting ':' delimiter at character 5"),
    ],
)
def test_a_body_that_is_no_json_is_said_to_be_none_and_where(client: TestClient, content: bytes, message: str) -> None:
    answer = client.post("/v1/completions", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["message"] == f"the body is not JSON: {message}"


def test_a_body_that_is_no_object_has_no_place(client: TestClient) -> None:
    answer = client.post("/v1/completions", content=b"5", headers={"content-type": "application/json"})
    assert answer.json()["error"]["message"].startswith("Input should be a valid dictionary")
