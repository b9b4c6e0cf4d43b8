from __future__ import annotations

import pytest

from app.core.records import JsonObject
from app.reporting.work import data_section, exposure_section, loss_section, thin_curve, times_section
from tests.support.summary import SUMMARY, texts


def test_exposure_is_a_ratio_of_tokens() -> None:
    assert texts(exposure_section(SUMMARY)) == [["ar", "1k", "990", "0.990"], ["de", "0", "1k", "–"]]


def test_data_leave_unknown_figures_open() -> None:
    tokens: JsonObject = {"de/train": {"documents": 3, "bytes": 2048, "tokens": 1024}}
    section = data_section(tokens, {"duplicates": {"de": 1}, "rejects": {"bad_json": 2}})
    assert texts(section) == [["de", "3", "2.0 KiB", "1.02k", "0.500", "1", "–"]]
    assert section is not None and section.notes == ["Rows that are not used: bad json 2."]


def test_a_curve_is_thinned_to_means_of_neighbours() -> None:
    assert thin_curve([(1, 10.0), (3, 20.0), (5, 30.0)], points=2) == [(2.0, 15.0), (5.0, 30.0)]
    assert thin_curve([(1, 10.0)], points=40) == [(1.0, 10.0)]
    long = [(float(x), 2.0 * x) for x in range(1000)]
    thin = thin_curve(long, points=40)
    assert len(thin) == 40 and all(y == pytest.approx(2 * x) for x, y in thin)


def test_losses_of_all_models_are_one_picture_and_models_without_steps_are_left_out() -> None:
    section = loss_section({"dense": [(100, 3.0), (200, 2.5)], "expert-00": []})
    assert section is not None and len(section.pictures) == 1
    assert ">dense<" in section.pictures[0].svg and "expert-00" not in section.pictures[0].svg
    assert loss_section({"dense": []}) is None


def test_each_stage_shows_its_time_and_what_it_handled_in_a_second() -> None:
    stages: dict[str, JsonObject] = {
        "shards": {"seconds": 2.0, "documents": 3000},
        "dense": {"seconds": 65.0, "documents": 130_000},
        "allocation": {"seconds": 0.5},
    }
    assert texts(times_section(stages)) == [
        ["shards", "2.0s", "1.5k"],
        ["dense", "1m 05s", "2k"],
        ["allocation", "0.5s", "–"],
    ]
    assert times_section({}) is None


def test_held_out_text_that_is_trained_on_is_said_where_there_is_some() -> None:
    tokens: JsonObject = {"de/train": {"documents": 1, "tokens": 1, "bytes": 1}}
    notes = {
        count: section.notes
        for count in (0, 3)
        if (section := data_section(tokens, {"held_out_in_training": {"de": count, "fr": 0}}))
    }
    assert len(notes[0]) == 1 and notes[3][1].endswith("looks better: de 3.")
