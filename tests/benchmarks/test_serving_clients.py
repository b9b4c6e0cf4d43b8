from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving_answers import Answer, Expected, Tally
from benchmarks.serving_clients import Clients
from tests.support.played_server import answering

pytestmark = pytest.mark.timeout(120)
SURE = [1.0, 1.0, 1.0]
EXPECTED = Expected([[0, 5], [0, 6]], {3: [Answer(["a", "b", "c"], SURE), Answer(["x", "y", "z"], SURE)]}, tokens=3)


def streamed(text: str) -> list[dict[str, Any]]:
    return [{"choices": [{"text": piece, "xelm": {"version": 3}}]} for piece in text]


def test_clients_judge_answers_count_refusals_and_leave() -> None:
    number, bodies = itertools.count(1), []

    def asked(body: bytes) -> tuple[int, list[dict[str, Any]]]:
        if next(number) % 10 == 0:
            return 429, []
        try:
            bodies.append(json.loads(body))
        except ValueError:
            return 400, []
        if len(prompt := bodies.pop()["prompt"]) > 2:
            return 400, []
        time.sleep(0.1)  # to the first token; the others come at once
        return 200, streamed("abc" if prompt == [0, 5] else "xyq")

    with answering(asked=asked) as port:
        tally = asyncio.run(Clients(f"http://127.0.0.1:{port}", EXPECTED).run(4, 3, seed=1))
    assert set(tally.answers) == {"right", "wrong", "left"} and set(tally.statuses) == {"200", "400", "429"}
    assert tally.statuses["200"] == tally.answers.total() > 20
    assert len(tally.failed) == tally.answers["wrong"]
    assert set(tally.failed) == {"wrong: prompt 1, version 3: 'xyq'"}
    assert set(tally.seconds) == {"first_token_s", "between_chunks_s"}
    first, between = tally.seconds["first_token_s"], tally.seconds["between_chunks_s"]
    assert 0.1 <= first["p50"] <= first["p99"] < 3 and 0 <= between["p50"] < 0.1


def test_errors_in_a_stream_of_the_server_and_of_the_line_are_failures() -> None:
    outcomes = itertools.cycle([(500, []), (200, [{"error": {"message": "lost"}}]), (200, [])])
    with answering(asked=lambda _: next(outcomes)) as port:
        tally = asyncio.run(Clients(f"http://127.0.0.1:{port}", EXPECTED).run(1, 2, seed=1))
    assert {said.partition(" prompt")[0] for said in tally.failed} >= {"500: ", "in a stream: lost", "cut off:"}
    gone = asyncio.run(Clients(f"http://127.0.0.1:{port}", EXPECTED).run(1, 1, seed=1))
    assert gone.failed and not gone.answers


def test_what_is_expected_and_what_was_seen_survive_their_files(tmp_path: Path) -> None:
    EXPECTED.write(tmp_path / "e")
    assert Expected.read(tmp_path / "e") == EXPECTED
    tally = Tally(failed=["x"], seconds={"first_token_s": {"p50": 0.5}})
    tally.answers["right"] += 2
    tally.write(tmp_path / "t")
    assert Tally.read(tmp_path / "t") == tally
