from __future__ import annotations

import math

import numpy as np
import pytest

from app.evaluation.company import Cut, company, together_against_apart
from app.evaluation.totals import LanguageTotals

NEAR, FAR = 0.2, 0.8
PAIRS = (("de", "en"), ("hi", "ur"))
LANGUAGES = ("de", "en", "hi", "ur")
DISTANCES = {
    one: {other: 0.0 if one == other else NEAR if {one, other} in map(set, PAIRS) else FAR for other in LANGUAGES}
    for one in LANGUAGES
}


def test_company_is_the_mean_distance_to_those_of_the_same_expert() -> None:
    found = company([["de", "en", "hi"], ["ur"], ["xx", "yy"]], DISTANCES)
    assert found == pytest.approx({"de": (NEAR + FAR) / 2, "en": (NEAR + FAR) / 2, "hi": FAR})


def totals(nats: dict[str, float]) -> dict[str, LanguageTotals]:
    """25 documents of 10 tokens, each token at so many nats, every other document a little more."""
    spread = np.where(np.arange(25) % 2, 1.01, 1.0)
    return {
        lang: LanguageTotals(-10 * value * spread, np.full(25, 10), np.full(25, 30), 25) for lang, value in nats.items()
    }


def test_nearer_company_that_is_better_for_each_language_is_seen_by_wins_ratio_and_correlation() -> None:
    same = dict.fromkeys(LANGUAGES, 3.0)
    together = Cut([["de", "en"], ["hi", "ur"]], totals(dict.fromkeys(LANGUAGES, 2.0)), totals(same), totals(same))
    apart = {"de": 2.2, "en": 2.3, "hi": 2.1, "ur": 1.9}
    other = Cut([["de", "hi"], ["en"], ["ur"]], totals(apart), totals(same), totals(same))
    found = together_against_apart(together, other, DISTANCES, 200, 0)
    assert (found["wins"], found["clear_wins"], found["clear_losses"]) == (3, 3, 1)
    assert (found["company"], found["other_company"]) == pytest.approx((NEAR, FAR))
    mean = 1.0 + 0.01 * 12 / 25  # nats of the documents that say a little more
    assert found["mean_log_perplexity_ratio"] == pytest.approx(-0.5 / 4 * mean)
    rows = {row["lang"]: row for row in found["rows"]}  # type: ignore[union-attr,index,call-overload]
    assert rows["de"]["log_ratio"] == pytest.approx(-0.2 * mean) and rows["en"]["other_company"] is None
    assert found["correlation"] is None and found["cases"] == 2, "both changed company by as much"


def test_the_language_whose_company_came_nearer_and_gained_correlates() -> None:
    same = dict.fromkeys(LANGUAGES, 3.0)
    this = Cut([["de", "en"], ["hi", "ur"]], totals({**same, "de": 2.0, "en": 2.1}), totals(same), totals(same))
    mixed = {one: {**row, "ur": 0.3, "hi": 0.3} if one in ("hi", "ur") else row for one, row in DISTANCES.items()}
    other = Cut([["de", "hi"], ["en", "ur"]], totals(same), totals(same), totals(same))
    mixed["hi"] |= {"de": 0.4}
    mixed["ur"] |= {"en": 0.35}
    found = together_against_apart(this, other, mixed, 50, 0)
    # company here minus there: de -0.6, en -0.6, hi -0.1, ur -0.05; change: de -1, en -0.9, hi 0, ur 0
    # ranks 1.5 1.5 3 4 with 1 2 3.5 3.5
    ranks = np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3.5, 3.5])[0, 1]
    assert found["correlation"] == pytest.approx(ranks) and math.isfinite(ranks)
