from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import pytest

from app.core.errors import CorruptArtifact
from app.core.typed import from_json


@dataclass(frozen=True)
class Inner:
    name: str
    size: float


@dataclass(frozen=True)
class Outer:
    count: int
    inner: tuple[Inner, ...]
    by_name: Mapping[str, int]
    parent: str | None
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    more: tuple[str, ...] = field(default=())


def test_a_record_written_as_json_reads_back_equal() -> None:
    record = Outer(3, (Inner("x", 1.5), Inner("y", 2.0)), {"de": 4}, None, "b", True, ("p", "q"))
    assert from_json(Outer, json.loads(json.dumps(asdict(record))), "here") == record


def test_fields_with_a_default_may_be_left_out_and_a_whole_number_is_a_float() -> None:
    tree = {"count": 1, "inner": [{"name": "x", "size": 2}], "by_name": {}, "parent": "p"}
    assert from_json(Outer, tree, "here") == Outer(1, (Inner("x", 2.0),), {}, "p")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "1"}, "here.count is '1', not int"),
        ({"count": True}, "here.count is True, not int"),
        ({"flag": 1}, "here.flag is 1, not bool"),
        ({"parent": 3}, "here.parent is 3, not str"),
        ({"kind": "c"}, "here.kind is 'c'"),
        ({"inner": [{"name": "x"}]}, r"here.inner\[0\] lacks size"),
        ({"inner": "xy"}, "here.inner is 'xy'"),
        ({"inner": [3]}, r"here.inner\[0\] is 3, not an object"),
        ({"by_name": {"de": None}}, "here.by_name.de is None, not int"),
        ({"new": 1}, "here has an unknown field 'new'; known: count, inner"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    tree = {"count": 1, "inner": [], "by_name": {}, "parent": None}
    with pytest.raises(CorruptArtifact, match=message):
        from_json(Outer, tree | change, "here")


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(CorruptArtifact, match="here lacks count"):
        from_json(Outer, {}, "here")
