from __future__ import annotations

import math

import pytest

from app.evaluation.round_transfer import Added, transfers

AZ = Added("expert-02", ("az",), "tr", "expert-01", 1)
DISTANCES: dict[str, dict[str, float]] = {
    "az": {"az": 0.0, "tr": 0.1, "ja": 0.2, "ko": 0.3, "hi": 0.4, "ur": 0.5, "en": 0.6},
}
DISTANCES |= {lang: {"az": distance} for lang, distance in DISTANCES["az"].items() if lang != "az"}


def row(parent: float, expert: float, seed: float = 10.0) -> dict[str, float]:
    return {"seed": seed, "expert-01": parent, "expert-02": expert}


ALONE = {
    "az": row(20, 5),
    "tr": row(8, 4),
    "ja": row(10, 5),
    "ko": row(10, 10),
    "hi": row(10, 20),
    "ur": row(10, 40),
    "en": row(10, 80),
    "xx": row(10, 20),
}


def test_what_a_round_carries_over_by_hand() -> None:
    (found,), correlation = transfers([AZ], ALONE, DISTANCES)
    two = math.log(2)
    assert found.before == pytest.approx(two), "the parent is worse than the seed in the new language"
    assert found.own == pytest.approx(-2 * two) and found.donor == pytest.approx(-two)
    assert found.related == ("ja", "ko", "hi", "ur") and found.relatives == pytest.approx((-1 + 0 + 1 + 2) / 4 * two)
    assert found.others == pytest.approx((3 + 1) / 2 * two), "the far one, and the one of unknown distance"
    assert correlation.correlation == pytest.approx(1.0) and correlation.cases == 5


def test_an_expert_that_was_not_scored_has_no_figures() -> None:
    (found,), _ = transfers([Added("expert-09", ("az",), "tr", "expert-01", 2)], ALONE, DISTANCES)
    assert math.isnan(found.own) and math.isnan(found.donor) and found.related == ()
