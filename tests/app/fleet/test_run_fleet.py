from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from app.fleet.run_fleet import repetition
from tests.support.tiny_training import SPEC


def task(weights: dict[str, float], held: dict[str, int]) -> Any:
    return SimpleNamespace(name="expert-03", weights=weights, held=held, spec=replace(SPEC, budget_tokens=100 * 32))


def test_a_language_that_is_repeated_is_said_to_be_with_how_often() -> None:
    told = repetition(task({"de": 0.5, "en": 0.5}, {"de": 1204, "en": 16}))
    assert told == "expert-03: en is repeated 100 times (16 tokens)"
    assert repetition(task({"de": 1.0}, {"de": 1204})) == ""


def test_many_repeated_languages_are_counted_and_the_worst_named() -> None:
    names = [f"l{i}" for i in range(10)]
    told = repetition(task(dict.fromkeys(names, 0.1), {name: 1 + i for i, name in enumerate(names)}))
    assert "l0 is repeated 320 times (1 tokens), l1" in told and told.endswith(" and 6 more languages")


def test_a_mixture_that_cannot_keep_to_its_epochs_says_so() -> None:
    few = task({"de": 1.0}, {"de": 1600})
    assert repetition(few, allowed=2.0) == ""
    assert repetition(few, allowed=1.0) == (
        "expert-03: de is repeated 2 times (1,600 tokens); corpus.mixture_max_epochs is 1: bring more text or lower the"
        " budget"
    )
