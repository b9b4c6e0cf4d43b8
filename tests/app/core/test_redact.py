from __future__ import annotations

import pytest

from app.core.records import JsonValue
from app.core.redact import HIDDEN, holds_secret, redact


@pytest.mark.parametrize(
    "name", ["token", "hub_token", "api_key", "aws.secret", "PASSWORD", "credentials", "secretKey"]
)
def test_a_setting_that_is_named_like_a_secret_is_hidden(name: str) -> None:
    assert redact({"a": {name: "abc"}}) == {"a": {name: HIDDEN}}


@pytest.mark.parametrize("name", ["budget_tokens", "tokens_per_step", "key", "tokenizer", "monkey"])
def test_a_setting_that_only_sounds_like_one_is_shown(name: str) -> None:
    assert redact({name: "abc", "token": ""}) == {name: "abc", "token": ""}


def test_secrets_in_addresses_and_well_known_tokens_are_hidden() -> None:
    assert redact(["s3://me:pass@bucket/x", "https://h/x?a=1&X-Amz-Signature=abc&b=2"]) == [
        f"s3://{HIDDEN}@bucket/x",
        f"https://h/x?a=1&X-Amz-Signature={HIDDEN}&b=2",
    ]
    assert redact("login hf_abcdefghijklmnopqrst now") == f"login {HIDDEN} now"


def test_everything_else_stays() -> None:
    value: JsonValue = {"a": [1, 2.5, None, True, "text"], "b": {"c": "s3://bucket/x"}}
    assert redact(value) == value


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("s3://KEY:secret@bucket/x", True),
        ("https://h/x?X-Amz-Signature=abc", True),
        ("hf_abcdefghijklmnopqrst", True),
        ("sftp://me@host/x", False),
        ("abfs://container@account.dfs.core.windows.net/x", False),
        ("s3://bucket/a:b@c", False),
        ("127.0.0.1:6379", False),
        ("facebook/xglm-564M", False),
    ],
)
def test_an_address_holds_a_secret_if_it_opens_something(text: str, secret: bool) -> None:
    assert holds_secret(text) is secret
