from __future__ import annotations

import json
import random

import pytest

from app.corpora.json_values import is_spread, spread_values

_SIGNS = ["\\", '"', "{", "}", "[", "]", ",", "é", "अ", "\n", "a", " ", "😀"]


def _objects(number: int) -> list[dict[str, object]]:
    rng = random.Random(number)
    text = ["".join(rng.choice(_SIGNS) for _ in range(rng.randrange(30))) for _ in range(rng.randrange(1, 9))]
    return [{"text": one, "more": {"a": [one, {}], "b": rng.random()}} for one in text]


def _blocks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_values_are_those_that_were_written_wherever_the_blocks_end(indent: int | None, ascii_only: bool) -> None:
    for number in range(40):
        objects = _objects(number)
        as_array = json.dumps(objects, indent=indent, ensure_ascii=ascii_only).encode()
        in_a_row = "\n".join(json.dumps(one, indent=indent, ensure_ascii=ascii_only) for one in objects).encode()
        for data in (as_array, in_a_row, as_array + b"\xef\xbb\xbf" + in_a_row):
            times = 1 + (data not in (as_array, in_a_row))
            for size in (1, 7, 1 << 16):
                values = list(spread_values(_blocks(data, size), 10_000))
                assert [json.loads(value or b"0") for value in values] == objects * times


def test_what_is_no_object_is_given_as_it_is_and_costs_nothing_else() -> None:
    data = b'[{"a": 1}, 17, "text", {"a": 2}] junk {"a": 3}'
    values = list(spread_values([data], 1000))
    assert values == [b'{"a": 1}', b"17", b'"text"', b'{"a": 2}', b"junk", b'{"a": 3}']


def test_a_missing_quote_costs_one_value_not_the_rest() -> None:
    data = b'[\n{"a": "no end},\n{"a": 2},\n{"a": 3}\n]'
    values = list(spread_values([data], 1000))
    assert values[-2:] == [b'{"a": 2}', b'{"a": 3}'] and len(values) == 3


@pytest.mark.parametrize("size", [3, 1 << 16])
def test_a_value_over_the_limit_is_none_and_its_neighbours_stay(size: int) -> None:
    data = json.dumps([{"a": 1}, {"a": "x" * 200, "b": [{}]}, {"a": 2}], indent=1).encode()
    assert list(spread_values(_blocks(data, size), 100)) == [b'{\n  "a": 1\n }', None, b'{\n  "a": 2\n }']


def test_white_space_over_the_limit_is_no_value() -> None:
    assert list(spread_values([b"[", b" " * 500, b'{"a": 1}', b"\n" * 500, b"]"], 100)) == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        *[(b'[{"a": 1}', True), (b"\xef\xbb\xbf [\n", True), (b'{\n "a": 1', True), (b'{"a":\n 1}', True)],
        *[(b'{"a": 1}\n{"a": 2}', False), (b'{"torn": \n{"a": 2}', False), (b'{"a": 1}', False), (b"", False)],
        *[(b'{"a": 1}\nno json', False), (b"no json", False), (b'{"a": "the whole head', False)],
    ],
)
def test_a_file_is_spread_if_its_first_value_does_not_end_on_its_line(head: bytes, expected: bool) -> None:
    assert is_spread(head) == expected
