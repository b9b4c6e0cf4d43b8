"""What the figures of a load are made of."""

from __future__ import annotations

from collections import Counter

from benchmarks.serving_clients import Tally
from benchmarks.serving_load import drawn_prompts, memory_of, seen


def test_memory_is_that_of_the_second_and_the_last_quarter() -> None:
    samples = [(float(at), at * 1_000_000) for at in range(1, 9)]
    assert memory_of(samples) == {"warm": 3.5, "end": 7.5}
    assert memory_of([]) == {}


def test_prompts_are_the_same_for_a_seed_and_hold_no_special_token_but_the_first() -> None:
    found = drawn_prompts(20, 50, 3)
    assert found == drawn_prompts(20, 50, 3)
    assert all(ids[0] == 0 and 2 <= len(ids) <= 40 and min(ids[1:]) >= 4 for ids in found)


def test_times_are_quantiles_and_statuses_are_counted() -> None:
    tally = Tally(statuses=Counter({200: 3, 429: 1}), first=[0.1, 0.2, 0.3])
    found = seen(tally)
    assert found["statuses"] == {"200": 3, "429": 1}
    assert found["first_token_s"] == {"p50": 0.2, "p99": 0.298}
    assert "between_chunks_s" not in found
