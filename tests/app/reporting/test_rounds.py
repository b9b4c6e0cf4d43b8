from __future__ import annotations

from typing import Any

from app.reporting.rounds import forecast_text, nearest_text, rankings_text

RANKED: dict[str, Any] = {
    "typology": {"pl": [["ru", 0.2], ["de", 0.25], ["en", 0.3], ["ja", 0.9]], "q": []},
    "perplexity": {"pl": [["de", 4.0]], "q": [["ja", 5.0]]},
}


def test_each_language_has_a_row_for_each_ranking_and_what_is_missing_says_why() -> None:
    lines = rankings_text(RANKED, {"representation": "the ensemble names no seed"}, "perplexity").splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("pl", "q "))] == [
        ["pl", "typology"],
        ["pl", "perplexity"],
        ["q", "typology"],
        ["q", "perplexity"],
    ]
    assert any("perplexity (chosen)" in line and "de 4.000" in line for line in lines)
    assert lines[-1] == "not computed: representation: the ensemble names no seed"


def test_the_nearest_three_are_shown_and_nobody_where_there_is_none() -> None:
    assert nearest_text(RANKED["typology"]["pl"]) == "ru 0.200, de 0.250, en 0.300"
    assert nearest_text([]) == "nobody"


def test_a_forecast_adds_up_and_has_no_time_where_none_is_known() -> None:
    model: dict[str, Any] = {"name": "expert-08", "tokens": 1000, "steps": 10, "flops": 6e9, "seconds": 30.0}
    text = forecast_text({"models": [model, {**model, "name": "lapt"}], "time_from": "the run's experts"})
    assert "together 2k tokens, 1m 00s one after another, as fast as the run's experts" in text and "6.00e+09" in text
    unknown: dict[str, Any] = {**model, "flops": None, "seconds": None}
    assert forecast_text({"models": [unknown], "time_from": None}).endswith("together 1k tokens")
