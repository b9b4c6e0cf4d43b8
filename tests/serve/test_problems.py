from __future__ import annotations

import pytest

from tests.support.serving import served


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/playground.js"])
def test_what_is_there_may_be_asked_without_its_body_and_another_method_is_told_which_there_are(
    path: str,
) -> None:
    with served() as client:
        found, whole, refused = client.head(path), client.get(path), client.post(path)
        assert found.status_code == 200 and found.headers["content-length"] == whole.headers["content-length"]
    assert refused.status_code == 405 and "error" in refused.json()
    assert {method.strip() for method in refused.headers["allow"].split(",")} == {"GET", "HEAD"}
    assert client.put("/v1/completions").headers["allow"] == "POST"
