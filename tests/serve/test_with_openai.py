"""The official client against our server, over HTTP: every answer parses as its typed models."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from serve.ingress import make_api
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble
from tests.support.serving import listening


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    replica = Replica(demo_ensemble(), 4)
    try:
        with (
            listening(make_api(replica, keys=("right",))) as address,
            openai.OpenAI(base_url=f"{address}/v1", api_key="right", max_retries=5) as made,
        ):
            yield made
    finally:
        replica.close()


def test_models_are_listed_and_one_is_found(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["ensemble", "expert-00", "expert-01", "dense"]
    assert client.models.retrieve("dense").id == "dense"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_a_completion_and_its_stream_are_the_same_text(client: openai.OpenAI) -> None:
    asked = {"model": "ensemble", "prompt": ["12 ", "Januar"], "max_tokens": 8, "temperature": 0.0, "seed": 3}
    whole = client.completions.create(**asked, logprobs=2)  # type: ignore[call-overload]
    texts = {0: "", 1: ""}
    usage = None
    stream = client.completions.create(**asked, stream=True, stream_options={"include_usage": True})  # type: ignore[call-overload]
    names = set()
    for chunk in stream:
        names.add(chunk.id)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert [choice.text for choice in whole.choices] == [texts[0], texts[1]] and len(names) == 1
    assert usage is not None and usage.completion_tokens == whole.usage.completion_tokens
    logprobs = whole.choices[0].logprobs
    assert "".join(logprobs.tokens) == whole.choices[0].text
    assert all(len(top) >= 2 for top in logprobs.top_logprobs)


def test_our_own_fields_travel_as_extra_body_and_come_back(client: openai.OpenAI) -> None:
    body = {"xelm": {"experts": {"expert-01": 1.0}}}
    found = client.completions.create(model="ensemble", prompt="12 ", max_tokens=2, extra_body=body)
    extra = found.choices[0].model_extra
    assert extra is not None and extra["xelm"]["weights"] == {"expert-01": 1.0}


def test_errors_are_the_clients_own_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.completions.create(model="ensemble", prompt="12 ", max_tokens=10_000)
    with pytest.raises(openai.BadRequestError, match="template"):
        client.chat.completions.create(model="ensemble", messages=[{"role": "user", "content": "12"}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
