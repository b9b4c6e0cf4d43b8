from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.adaptation.rounds import NewExpert
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, write_ensemble
from app.artifacts.store import Store
from app.config.load import load_config
from benchmarks.donors import RESULTS, _keep, _row, donors_text, tried_donors, verdict, verdict_text, version_without

RANKED = {
    "typology": [("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4), ("e", 0.9)],
    "perplexity": [("b", 3.0), ("a", 3.1), ("d", 3.2), ("c", 4.0), ("e", 5.0)],
}


def row(lang: str, donor: str, nats: float, place: int, figure: float, ranking: str = "typology") -> dict[str, Any]:
    return {
        "run": "r",
        "random_seed": 0,
        "language": lang,
        "donor": donor,
        "nats": nats,
        "places": {ranking: place},
        "figures": {ranking: figure},
    }


# The nearest donor of x is the best one; of y the farthest one is, by 0.3 nats.
ROWS = [
    *(
        row("x", donor, nats, place, place / 10)
        for place, (donor, nats) in enumerate([("a", 2.0), ("b", 2.1), ("c", 2.2)], 1)
    ),
    *(
        row("y", donor, nats, place, place / 10)
        for place, (donor, nats) in enumerate([("a", 3.3), ("b", 3.1), ("c", 3.0)], 1)
    ),
]


def test_the_nearest_and_the_farthest_of_every_ranking_are_tried_once() -> None:
    assert tried_donors(RANKED, 2) == ["a", "b", "e"]
    assert tried_donors(RANKED) == ["a", "b", "c", "e", "d"]
    assert tried_donors({"typology": [("a", 0.1)], "perplexity": []}) == ["a"]


def test_a_ranking_is_worth_what_its_nearest_donors_did_within_each_language() -> None:
    found = verdict(ROWS)["typology"]
    assert found["correlation"] == pytest.approx((1.0 - 1.0) / 2)
    assert found["lost"] == pytest.approx(0.15) and (found["first"], found["languages"], found["cases"]) == (1, 2, 6)
    assert verdict(ROWS[:3])["typology"]["correlation"] == pytest.approx(1.0)


def test_two_donors_or_equal_figures_predict_nothing() -> None:
    assert verdict(ROWS[:2])["typology"]["correlation"] is None
    alike = [{**each, "figures": {"typology": 0.5}} for each in ROWS[:3]]
    assert verdict(alike)["typology"]["correlation"] is None
    assert "–" in verdict_text(alike)


def test_a_ranking_that_does_not_know_a_language_is_judged_by_the_others() -> None:
    rows = [*ROWS[:3], row("z", "a", 1.0, 1, 4.0, "perplexity")]
    found = verdict(rows)
    assert found["typology"]["languages"] == found["perplexity"]["languages"] == 1
    assert donors_text(rows).splitlines()[1].split()[:3] == ["z", "a", "1.0000"]


def test_a_donor_that_a_ranking_leaves_out_has_no_place_in_it() -> None:
    ranked = {"typology": [("pl", 0.1), ("de", 0.2)], "representation": [("de", 0.5)], "perplexity": []}
    rows = [
        _row(load_config("demo"), "cs", NewExpert("n", ("cs",), donor, "p", 1), 2.0, ranked) for donor in ("pl", "de")
    ]
    assert rows[0]["places"] == {"typology": 1} and rows[0]["figures"] == {"typology": 0.1}
    assert rows[1]["places"] == {"typology": 2, "representation": 1}


def test_after_the_languages_have_joined_the_version_before_them_is_asked(tmp_path: Path) -> None:
    run = Store(str(tmp_path)).run("r")
    first = ExpertRecord("expert-00", "k0", None, 0, ("de",), "")
    later = [ExpertRecord(f"expert-0{n}", f"k{n}", "k0", n, (lang,), "") for n, lang in ((1, "sv"), (2, "az"))]
    for count in range(3):
        write_ensemble(run, EnsembleRecord("r", (first, *later[:count]), "a", "t", {}))
    for languages, version in ((["az"], 2), (["az", "sv"], 1), (["he"], 3), (["de"], 3)):
        assert version_without(run, languages).version == version


def test_rows_of_an_earlier_time_are_replaced(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _keep(store, ROWS[:2])
    _keep(store, [{**ROWS[1], "nats": 9.0}, ROWS[2]])
    rows = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert [(each["donor"], each["nats"]) for each in rows] == [("a", 2.0), ("b", 9.0), ("c", 2.2)]
