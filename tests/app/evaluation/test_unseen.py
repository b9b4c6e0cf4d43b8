from __future__ import annotations

import math

import pytest

from app.evaluation.unseen import Unseen, nearness, unseen_rows

DISTANCES = {
    "de": {"en": 0.1, "ja": 0.8, "ko": 0.7},
    "en": {"de": 0.1, "ja": 0.9, "ko": 0.9},
    "ja": {"de": 0.8, "en": 0.9, "ko": 0.2},
    "ko": {"de": 0.7, "en": 0.9, "ja": 0.2},
}


def figures(perplexity: float, seen: int = 0) -> dict[str, float]:
    return {"perplexity": perplexity, "bits_per_byte": math.log2(perplexity), "exposure_tokens": seen}


def test_an_expert_has_a_row_for_each_language_that_it_never_saw_with_its_nearest_relative() -> None:
    table = {
        "de": {"seed": figures(8), "a": figures(4, seen=9), "b": figures(16)},
        "en": {"seed": figures(8), "a": figures(2, seen=9), "b": figures(32)},
        "ja": {"seed": figures(4), "a": figures(8), "b": figures(2, seen=9)},
        "xx": {"seed": figures(4), "a": figures(8), "b": figures(2, seen=9)},  # no typology: left out
    }
    rows = unseen_rows(table, ["a", "b", "not_scored"], DISTANCES)
    assert [(row.lang, row.expert, row.nearest, row.distance) for row in rows] == [
        ("de", "b", "ja", 0.8),
        ("en", "b", "ja", 0.9),
        ("ja", "a", "de", 0.8),
    ]
    assert [row.log_ratio for row in rows] == pytest.approx([math.log(2), math.log(4), math.log(2)])
    assert (rows[0].bits, rows[0].seed_bits) == (4.0, 3.0)


def row(expert: str, lang: str, distance: float, log_ratio: float) -> Unseen:
    return Unseen(expert, lang, "", distance, log_ratio, 0.0, 0.0)


def test_nearer_experts_do_better_where_distance_and_loss_rise_together_within_each_language() -> None:
    """ja loses more whichever expert reads it: that is taken away, and the order within a language remains."""
    rows = [row("a", "de", 0.1, 0.0), row("b", "de", 0.5, 0.2), row("a", "ja", 0.2, 1.0), row("b", "ja", 0.4, 1.1)]
    found = nearness(rows)
    assert found.correlated.correlation == pytest.approx(1.0) and found.correlated.cases == 4
    assert (found.languages, found.nearest_wins) == (2, 2)
    assert found.nearest == pytest.approx(0.5) and found.farthest == pytest.approx(0.65)


def test_experts_at_one_distance_and_single_ones_say_nothing() -> None:
    found = nearness([row("a", "de", 0.1, 0.0), row("b", "de", 0.1, 0.2), row("a", "ja", 0.2, 1.0)])
    assert found.languages == 0 and math.isnan(found.nearest) and math.isnan(found.correlated.correlation)
