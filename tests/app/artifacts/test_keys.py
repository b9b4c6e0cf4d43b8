from __future__ import annotations

import hashlib

from app.artifacts.keys import digest_json, stage_key


def test_digest_is_sha256_of_canonical_json() -> None:
    assert digest_json({"b": 1, "a": "ü"}) == hashlib.sha256('{"a":"ü","b":1}'.encode()).hexdigest()


def test_key_depends_on_stage_fields_and_parents_but_not_on_their_order() -> None:
    key = stage_key("tokens", {"a": 1, "b": 2}, {"x": "1", "y": "2"})
    assert key == stage_key("tokens", {"b": 2, "a": 1}, {"y": "2", "x": "1"})
    others = [
        stage_key("shards", {"a": 1, "b": 2}, {"x": "1", "y": "2"}),
        stage_key("tokens", {"a": 1, "b": 3}, {"x": "1", "y": "2"}),
        stage_key("tokens", {"a": 1, "b": 2}, {"x": "1", "y": "3"}),
    ]
    assert len({key, *others}) == 4 and len(key) == 16
