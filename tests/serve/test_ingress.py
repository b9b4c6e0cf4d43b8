"""The API as clients use it, over a small ensemble in this process."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from serve.limits import ServingLimits
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble
from tests.support.serving import chunks, post, served


@pytest.fixture(scope="module")
def shared() -> Iterator[TestClient]:
    with served() as client:
        yield client


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    return shared


def complete(client: TestClient, **body: Any) -> Any:
    return post(client, **{"prompt": "12 ", "max_tokens": 3, "temperature": 0, **body})


def ids_of(text: str) -> list[int]:
    tokenizer = demo_ensemble().tokenizer
    return [tokenizer.start_id, *tokenizer.encode_batch([text])[0].tolist()]


def test_models_are_the_ensemble_the_experts_and_what_stands_beside_them(client: TestClient) -> None:
    found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == ["ensemble", "expert-00", "expert-01", "dense"]
    assert client.get("/v1/models/expert-01").json() == found["data"][2]
    error = client.get("/v1/models/gpt-4").json()["error"]
    assert error["code"] == "model_not_found"
    assert error["message"] == "unknown model 'gpt-4'; known: dense, ensemble, expert-00, expert-01"


def test_a_completion_has_openais_shape_and_our_weights(client: TestClient) -> None:
    found = complete(client, xelm={"language": "en"}).json()
    assert found["object"] == "text_completion" and found["model"] == "ensemble" and found["id"].startswith("cmpl-")
    (choice,) = found["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] == "length" and choice["text"]
    assert choice["xelm"]["weights"] == {"expert-00": 0.0, "expert-01": 1.0}
    assert choice["xelm"]["weighting"] == "one_hot" and choice["xelm"]["language"] == "en"
    usage = found["usage"]
    assert usage["completion_tokens"] == 3 and usage["total_tokens"] == usage["prompt_tokens"] + 3


def test_prompts_are_text_lists_of_texts_ids_or_lists_of_ids_answered_in_order_n_times(client: TestClient) -> None:
    texts = ["12 ", "Januar"]
    alone = [complete(client, model="dense", prompt=text).json()["choices"][0]["text"] for text in texts]
    for prompt in (texts, [ids_of(text) for text in texts]):
        choices = complete(client, model="dense", prompt=prompt, n=2).json()["choices"]
        assert [choice["text"] for choice in choices] == [alone[0], alone[0], alone[1], alone[1]]
        assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert complete(client, model="dense", prompt=ids_of("12 ")).json()["choices"][0]["text"] == alone[0]


def test_a_seed_gives_the_same_text_and_none_gives_another(client: TestClient) -> None:
    settings = {"temperature": 1.3, "max_tokens": 20}
    first, again = (complete(client, seed=3, **settings).json()["choices"][0]["text"] for _ in range(2))
    others = {complete(client, **settings).json()["choices"][0]["text"] for _ in range(4)}
    assert first == again and len(others) == 4


def test_equal_prompts_without_a_seed_are_samples_and_with_one_the_same_text(client: TestClient) -> None:
    settings = {"prompt": ["12 "] * 6, "n": 2, "temperature": 1.3, "max_tokens": 20}
    free, seeded = (
        [choice["text"] for choice in complete(client, **settings, **more).json()["choices"]]
        for more in ({}, {"seed": 3})
    )
    assert len(set(free)) == 12
    alone = [
        choice["text"] for choice in complete(client, **{**settings, "prompt": "12 ", "seed": 3}).json()["choices"]
    ]
    assert seeded == alone * 6 and len(set(alone)) == 2


def test_a_stop_string_ends_the_text_before_itself(client: TestClient) -> None:
    whole = complete(client, model="dense", max_tokens=8).json()["choices"][0]["text"]
    stop = whole[2:4]
    choice = complete(client, model="dense", max_tokens=8, stop=["nowhere", stop]).json()["choices"][0]
    assert choice["text"] == whole[: whole.index(stop)] and choice["finish_reason"] == "stop"


def test_every_sampling_field_reaches_the_engine(client: TestClient) -> None:
    body: dict[str, Any] = {"model": "dense", "max_tokens": 40, "temperature": 1, "logit_bias": {"0": -100}, "seed": 1}
    plain = complete(client, **body).json()["choices"][0]["text"]
    fields: dict[str, Any] = {
        "top_k": 1,
        "top_p": 0.01,
        "min_p": 0.9,
        "repetition_penalty": 3.0,
        "presence_penalty": 2.0,
        "frequency_penalty": 2.0,
        "logit_bias": {str(ids_of("12 ")[1]): 100},
        "stop_token_ids": [demo_ensemble().tokenizer.encode_batch([plain])[0].tolist()[0]],
    }
    for name, value in fields.items():
        changed = complete(client, **{**body, name: value}).json()
        assert changed["choices"][0]["text"] != plain, name


def test_a_stream_is_the_whole_answer_cut_into_chunks_of_one_id(client: TestClient) -> None:
    body: dict[str, Any] = {"max_tokens": 24, "temperature": 1, "seed": 7, "logprobs": 2, "echo": True, "n": 2}
    whole = complete(client, **body).json()
    answer = complete(client, **body, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *parts, last = chunks(answer.text)
    assert last["choices"] == [] and last["usage"] == whole["usage"]
    assert len({part["id"] for part in parts}) == 1 and all(part["usage"] is None for part in parts)
    assert len(parts) > 4
    for expected in whole["choices"]:
        mine = [part["choices"][0] for part in parts if part["choices"][0]["index"] == expected["index"]]
        assert "".join(one["text"] for one in mine) == expected["text"]
        for key in ("tokens", "text_offset"):
            assert [item for one in mine for item in one["logprobs"][key]] == expected["logprobs"][key], key
        values = [item for one in mine for item in one["logprobs"]["token_logprobs"]]
        assert values[0] is None and values[1:] == pytest.approx(expected["logprobs"]["token_logprobs"][1:], abs=1e-4)
        assert [one["finish_reason"] for one in mine] == [None] * (len(mine) - 1) + [expected["finish_reason"]]


def test_without_include_usage_no_chunk_speaks_of_usage(client: TestClient) -> None:
    assert all("usage" not in part for part in chunks(complete(client, stream=True).text))


@pytest.mark.parametrize("text", ["12 वनस्पति 🙂", "日本語の文", "שלום עולם", "ไทย"])
def test_offsets_point_at_each_token_and_no_chunk_ends_inside_a_character(client: TestClient, text: str) -> None:
    body: dict[str, Any] = {
        "prompt": text,
        "max_tokens": 40,
        "temperature": 1.5,
        "seed": 2,
        "logprobs": 0,
        "echo": True,
    }
    choice = complete(client, **body).json()["choices"][0]
    found, names = choice["text"], choice["logprobs"]["tokens"]
    assert found.startswith(text)
    # From the bytes of the tokens before each: what they hold of whole characters, and nothing of one that has begun.
    bare = [bytes.fromhex(name[3:5]) if name.startswith("<0x") else name.encode() for name in names]
    bare = [b"" if name == "</s>" else spelt for name, spelt in zip(names, bare, strict=True)]
    before = [b"".join(bare[:place]) for place in range(len(names))]
    decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in names]
    assert choice["logprobs"]["text_offset"] == [
        len(decoder.decode(spelt)) for decoder, spelt in zip(decoders, before, strict=True)
    ]
    assert found == b"".join(bare).decode(errors="replace")
    parts = chunks(complete(client, **body, stream=True).text)
    assert "".join(part["choices"][0]["text"] for part in parts) == found


def test_scoring_is_the_contract_of_lm_eval(client: TestClient) -> None:
    """One entry for each prompt token and the one made; a token is greedy only if its value equals the largest."""
    ensemble = demo_ensemble()
    prompts = [ids_of("12 January 1999")[1:], ids_of("Montag")[1:]]
    body = {"model": "dense", "prompt": prompts, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    choices = complete(client, **body).json()["choices"]
    for prompt, choice in zip(prompts, choices, strict=True):
        with torch.no_grad():
            expected = ensemble.models["dense"].logits(torch.tensor([prompt]))[0].double().log_softmax(-1)
        found, top = choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]
        assert len(found) == len(top) == len(choice["logprobs"]["tokens"]) == len(prompt) + 1
        assert found[0] is None and top[0] is None
        for i, token in enumerate(prompt[1:]):
            assert found[i + 1] == pytest.approx(float(expected[i, token]), abs=1e-4)
            is_greedy = int(expected[i].argmax()) == token
            assert (found[i + 1] == max(top[i + 1].values())) == is_greedy
        assert found[-1] == max(top[-1].values())


def test_a_mixture_is_scored_as_its_definition_says(client: TestClient) -> None:
    ensemble, ids = demo_ensemble(), ids_of("12 January")
    weights = {"expert-00": 0.3, "expert-01": 0.7}
    body = {"prompt": ids, "max_tokens": 0, "logprobs": 5, "echo": True, "xelm": {"experts": weights}}
    choice = complete(client, **body).json()["choices"][0]
    with torch.no_grad():
        each = [
            expert.logits(torch.tensor([ids]))[0].double().softmax(-1)
            for expert in (ensemble.models["expert-00"], ensemble.models["expert-01"])
        ]
    mixed = (0.3 * each[0] + 0.7 * each[1]).log()
    expected = [float(mixed[i, token]) for i, token in enumerate(ids[1:])]
    np.testing.assert_allclose(choice["logprobs"]["token_logprobs"][1:], expected, atol=1e-4)
    best = mixed[0].topk(5).values.tolist()
    assert sorted(choice["logprobs"]["top_logprobs"][1].values())[-5:] == pytest.approx(sorted(best), abs=1e-4)
    assert choice["text"] == "12 January" and choice["finish_reason"] == "length"


def test_weights_of_each_token_come_on_demand(client: TestClient) -> None:
    choice = complete(client, xelm={"per_token": True, "experts": ["expert-00", "expert-01"]}).json()["choices"][0]
    xelm = choice["xelm"]
    assert "".join(xelm["pieces"]) == choice["text"] and xelm["experts"] == ["expert-00", "expert-01"]
    means = np.mean(xelm["token_weights"], axis=0)
    assert list(xelm["weights"].values()) == pytest.approx(means.tolist())
    assert "token_weights" not in complete(client).json()["choices"][0]["xelm"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": "gpt-4"}, 404, "known: dense, ensemble"),
        ({"max_tokens": 4000}, 400, "context is 128 tokens"),
        ({"max_tokens": 10**6}, 400, "max_tokens: 1000000 is more than the 4096"),
        ({"max_tokens": "x"}, 400, "max_tokens: "),
        ({"prompt": "Januar " * 600}, 400, "context is 128 tokens, but the prompt has 604"),
        ({"prompt": [5] * 2000}, 400, "the prompt has 2000"),
        ({"prompt": "12 \ud800"}, 400, "half a surrogate pair at character 3"),
        ({"seed": 10**30}, 400, "seed: "),
        ({"stop": ["\n", ""]}, 400, "stop."),
        ({"stop": ["a"] * 17}, 400, "stops: 17 is more than the 16"),
        ({"n": 17}, 400, "n: 17 is more than the 16"),
        ({"n": 0}, 400, "n: "),
        ({"prompt": ["a"] * 129}, 400, "prompts: 129 is more than the 128"),
        ({"prompt": ["a"] * 20, "n": 10}, 400, "prompts times n: 200"),
        ({"temperature": float("inf")}, 400, "temperature: "),
        ({"xelm": {"temperature": float("inf")}}, 400, "xelm.temperature: "),
        ({"logprobs": 6}, 400, "logprobs: "),
        ({"logprobs": True}, 400, "logprobs: "),
        ({"best_of": 2}, 400, "best_of is a field of OpenAI's API that this server does not support"),
        ({"suffix": "x"}, 400, "suffix is a field"),
        ({"length_penalty": 1}, 400, "length_penalty: "),
        ({"stream_options": {"include_usage": True}}, 400, "stream is not true"),
        ({"logit_bias": {"99999999": 1}}, 400, "logit_bias gives token 99999999"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": [-1]}, 400, "token id -1"),
        ({"prompt": [True]}, 400, "prompt"),
        ({"xelm": {"language": "tlh"}}, 400, "nearest known"),
        ({"xelm": {"lang": "de"}}, 400, "xelm.lang: "),
        ({"xelm": {"experts": {"expert-00": 0}}}, 400, "prior"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_openais_and_names_the_value(
    client: TestClient, body: dict[str, Any], status: int, message: str, stream: bool
) -> None:
    answer = complete(client, **({"stream": True} if stream and "stream_options" not in body else {}), **body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert message in error["message"] and set(error) == {"message", "type", "param", "code"}


def test_null_is_what_is_not_given(client: TestClient) -> None:
    nulls = {"stop": None, "logprobs": None, "best_of": None, "stream": None, "n": None, "xelm": None, "user": None}
    assert complete(client, **nulls).json()["choices"] == complete(client).json()["choices"]


def test_a_body_that_is_no_json_and_a_path_that_is_not_there_are_answered_too(client: TestClient) -> None:
    broken = client.post("/v1/completions", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 400 and "error" in broken.json()
    text = client.post("/v1/completions", content=b'{"prompt": "x"}', headers={"content-type": "text/plain"})
    assert text.status_code == 400  # a page elsewhere could send it without asking
    assert client.get("/nowhere/at/all").json()["error"]["message"] == "Not Found"


def test_tokens_and_text_turn_into_each_other(client: TestClient) -> None:
    for text in ("12 January", "日本", ""):
        found = post(client, "/tokenize", prompt=text).json()
        assert found["tokens"] == ids_of(text) and found["count"] == len(ids_of(text))
        bare = post(client, "/tokenize", prompt=text, add_special_tokens=False).json()["tokens"]
        assert bare == ids_of(text)[1:]
        assert post(client, "/detokenize", tokens=bare).json() == {"prompt": text}
    assert post(client, "/detokenize", tokens=[10**9]).status_code == 400
    info = client.get("/tokenizer_info").json()
    assert info["eos_token"] == "</s>" and info["chat_template"] is None


def test_the_special_tokens_that_are_told_of_can_be_asked_for(client: TestClient) -> None:
    info, tokenizer = client.get("/tokenizer_info").json(), demo_ensemble().tokenizer
    expected = {"bos_token": tokenizer.start_id, "eos_token": tokenizer.end_id, "pad_token": tokenizer.pad_id}
    for name, token in expected.items():
        bare = post(client, "/tokenize", prompt=info[name], add_special_tokens=False).json()
        assert bare["tokens"] == [token]
        assert post(client, "/tokenize", prompt=info[name]).json()["tokens"] == [tokenizer.start_id, token]
    text = post(client, "/tokenize", prompt=info["eos_token"] + " ", add_special_tokens=False).json()
    assert tokenizer.end_id not in text["tokens"] and text["count"] > 1
    usage = complete(client, prompt=info["eos_token"]).json()["usage"]
    assert usage["prompt_tokens"] == len(ids_of(info["eos_token"])) > 2, "in a prompt it is text"


def test_chat_without_a_template_is_a_clear_400(client: TestClient) -> None:
    answer = post(client, "/v1/chat/completions", messages=[{"role": "user", "content": "hello"}])
    assert answer.status_code == 400 and "no chat template; use /v1/completions" in answer.json()["error"]["message"]


def test_a_chat_names_its_limit_once(client: TestClient) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, "max_completion_tokens": 4}
    answer = post(client, "/v1/chat/completions", **body)
    assert answer.status_code == 400
    assert "max_tokens and max_completion_tokens are both given" in answer.json()["error"]["message"]


def test_a_chat_without_a_limit_gets_what_the_server_and_the_context_have_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo_ensemble().tokenizer._library, "chat_template", "{{ messages[0]['content'] }}")
    with served(limits=ServingLimits(max_tokens=100)) as client:

        def chat(content: str) -> Any:
            turns = [{"role": "user", "content": content}]
            return post(client, "/v1/chat/completions", messages=turns, logit_bias={"0": -100})

        usage = chat("12 ").json()["usage"]
        assert usage["completion_tokens"] == 100 and usage["prompt_tokens"] < 28
        usage = chat("Januar " * 60).json()["usage"]
        assert usage["completion_tokens"] == 128 - usage["prompt_tokens"] < 100
        full = chat("Januar " * 130)
        assert full.status_code == 400 and "context is 128 tokens" in full.json()["error"]["message"]


def test_half_a_surrogate_pair_in_a_turn_is_refused_by_its_place(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_ensemble().tokenizer._library, "chat_template", "{{ messages[0]['content'] }}")
    turns = [{"role": "user", "content": "12 "}, {"role": "user", "content": "1 \ud800"}]
    answer = post(client, "/v1/chat/completions", messages=turns)
    assert answer.status_code == 400
    assert "messages[1].content holds half a surrogate pair at character 2" in answer.json()["error"]["message"]


def test_chat_fills_the_template_and_has_openais_shape(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}assistant: "
    monkeypatch.setattr(demo_ensemble().tokenizer._library, "chat_template", template)
    tokenizer = demo_ensemble().tokenizer
    parts = [tokenizer.encode_batch([text])[0].tolist() for text in ("user: 12 ", "assistant: ")]
    prompt = [*parts[0], tokenizer.end_id, *parts[1]]
    plain = complete(client, prompt=prompt, max_tokens=6).json()["choices"][0]["text"]
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "12 "}], "temperature": 0}
    body |= {"max_completion_tokens": 6, "logprobs": True, "top_logprobs": 2}
    whole = post(client, "/v1/chat/completions", **body).json()
    (choice,) = whole["choices"]
    assert whole["object"] == "chat.completion" and whole["usage"]["prompt_tokens"] == len(prompt)
    assert choice["message"] == {"role": "assistant", "content": plain, "refusal": None}
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == plain
    assert all(len(entry["top_logprobs"]) == 2 for entry in choice["logprobs"]["content"])
    deltas = chunks(post(client, "/v1/chat/completions", **body, stream=True).text)
    assert {part["object"] for part in deltas} == {"chat.completion.chunk"}
    assert [part["choices"][0]["delta"].get("role") for part in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(part["choices"][0]["delta"]["content"] for part in deltas) == plain


def test_the_bytes_of_a_chats_tokens_are_those_of_the_text(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = demo_ensemble().tokenizer
    monkeypatch.setattr(tokenizer._library, "chat_template", "{{ messages[0]['content'] }}")
    byte = next(token for token in range(tokenizer.vocab_size) if tokenizer.spelling(token) == "<0xE3>")
    turns = [{"role": "user", "content": "日本"}]
    body: dict[str, Any] = {"messages": turns, "logprobs": True, "temperature": 0, "max_tokens": 2}
    asked = {**body, "top_logprobs": 5, "logit_bias": {str(byte): 100}}
    content = post(client, "/v1/chat/completions", **asked).json()["choices"][0]["logprobs"]["content"]
    for entry in content:
        assert (entry["token"], entry["bytes"]) == ("<0xE3>", [0xE3])
        # The five most probable ones, of which the one that the bias has chosen is none: it has the entry itself.
        assert len(entry["top_logprobs"]) == 5
        assert all(one["logprob"] > entry["logprob"] for one in entry["top_logprobs"])
        for one in entry["top_logprobs"]:
            name = one["token"]
            assert bytes(one["bytes"]) == (bytes.fromhex(name[3:5]) if name.startswith("<0x") else name.encode())


def test_the_metrics_count_what_was_asked_and_made() -> None:
    with served() as client:
        complete(client, max_tokens=5)
        complete(client, model="nobody")
        page = client.get("/metrics").text
    values = {line.split(" ")[0]: float(line.split(" ")[1]) for line in page.splitlines() if not line.startswith("#")}
    assert values['xelm_requests_total{route="/v1/completions",status="200"}'] == 1
    assert values['xelm_requests_total{route="/v1/completions",status="404"}'] == 1
    assert values["xelm_prompt_tokens_total"] == 4 and values["xelm_made_tokens_total"] == 5
    assert values["xelm_first_token_seconds_count"] == 1 and values["xelm_between_tokens_seconds_count"] <= 4
    assert values["xelm_weight_entropy_nats_count"] == 5 and values["xelm_requests_answering"] == 0
    assert any(name.startswith("xelm_cache_use{") for name in values)


@pytest.mark.parametrize(("route", "body"), [("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [5]})])
def test_a_backend_that_does_not_answer_costs_a_client_no_more_than_the_time_allowed(
    route: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    for name in ("encode", "decode"):
        monkeypatch.setattr(Replica, name, never)
    with served(limits=ServingLimits(timeout_s=0.2)) as client:
        answer = post(client, route, **body)
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"


def test_the_schema_of_the_api_is_there(client: TestClient) -> None:
    found = json.loads(client.get("/openapi.json").text)
    assert {"/v1/completions", "/v1/chat/completions", "/v1/models", "/tokenize", "/ready"} <= set(found["paths"])


def test_another_origin_is_given_no_leave(client: TestClient) -> None:
    answer = client.get("/v1/models", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_limits_are_the_operators() -> None:
    with served(limits=ServingLimits(body_bytes=200)) as client:
        assert complete(client).status_code == 200
        assert complete(client, prompt="x" * 300).status_code == 413
