from __future__ import annotations

from typing import Any

from app.core.records import JsonObject
from app.reporting.sections import (
    Section,
    allocation_section,
    data_section,
    exposure_section,
    matrix_section,
    models_section,
    perplexity_section,
    systems_section,
    times_section,
)


def cell(perplexity: float, change: float, clear: bool, tokens: int = 1000) -> JsonObject:
    figures: JsonObject = {"perplexity": perplexity, "bits_per_byte": 1.5, "exposure_tokens": tokens}
    figures |= {"change_from_dense": change, "low_from_dense": change - 0.1, "high_from_dense": change + 0.1}
    return {**figures, "clear_from_dense": clear}


SUMMARY: JsonObject = {
    "expert_of_language": {"ar": "expert-00", "de": "expert-01"},
    "weighting": "one_hot",
    "per_language": {
        "ar": {
            "seed": cell(15, 0.5, True),
            "dense": {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 1000},
            "expert-00": cell(8, -0.2, True),
            "expert-01": cell(20, 1.0, True),
            "ensemble": cell(8, -0.2, True, 990),
        },
        "de": {
            "seed": cell(16, 0.6, True),
            "dense": {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 0},
            "expert-00": cell(15, 0.5, True),
            "expert-01": cell(10, 0.0, False),
            "ensemble": cell(11, 0.1, False),
        },
    },
    "systems": {
        "expert-00": {"mean_relative_perplexity_change": 0.1, "clear_losses_to_dense": 1}
        | dict.fromkeys(("languages_compared", "wins_over_dense", "clear_wins_over_dense", "wins_over_seed"), 2),
        "ensemble": {"mean_relative_perplexity_change": -0.05, "clear_losses_to_dense": 0}
        | dict.fromkeys(("languages_compared", "wins_over_dense", "clear_wins_over_dense", "wins_over_seed"), 2),
    },
}


def texts(section: Section | None) -> list[list[str]]:
    assert section is not None
    assert all(len(row) == len(section.header) for row in section.rows)
    return [[cell.text for cell in row] for row in section.rows]


def test_the_lowest_perplexity_is_best_and_a_clear_win_is_marked() -> None:
    section = perplexity_section(SUMMARY)
    assert section is not None and list(section.header[:4]) == ["language", "seed", "dense", "ensemble"]
    arabic, german = section.rows
    assert [cell.kind for cell in arabic[1:4]] == ["", "", "best"] and [cell.kind for cell in german[1:4]] == [
        "",
        "best",
        "",
    ]
    assert (arabic[4].text, arabic[4].kind) == ("✓ -20.0%", "win") and (german[4].text, german[4].kind) == (
        "+10.0%",
        "",
    )
    assert arabic[5].text == "-30.0 … -10.0"
    assert section.notes[-1] == "Weights of the ensemble: one_hot."


def test_plots_share_one_scale() -> None:
    section = perplexity_section(SUMMARY)
    assert section is not None
    plots = [row[6].plot for row in section.rows]
    assert plots[0] is not None and plots[1] is not None
    assert plots[0].zero == plots[1].zero == plots[1].low  # the German interval begins at no change
    assert 0 < plots[0].low < plots[0].point < plots[0].high < plots[0].zero < plots[1].point < plots[1].high
    assert plots[1].high < plots[1].width


def test_languages_carry_their_names_and_direction() -> None:
    section = perplexity_section(SUMMARY)
    assert section is not None
    arabic, german = (row[0] for row in section.rows)
    assert arabic.names == ("Arabic", "العربية") and arabic.right_to_left
    assert german.names == ("German", "Deutsch") and not german.right_to_left


def test_the_ensembles_systems_stand_before_single_experts() -> None:
    assert texts(systems_section(SUMMARY)) == [
        ["ensemble", "2 of 2", "2", "0", "2 of 2", "-5.00%"],
        ["expert-00", "2 of 2", "2", "1", "2 of 2", "+10.00%"],
    ]


def test_the_matrix_is_coloured_by_the_ratio_to_dense_and_frames_the_own_expert() -> None:
    section = matrix_section(SUMMARY)
    assert texts(section) == [["ar", "8.00", "20.00", "10.00"], ["de", "15.00", "10.00", "10.00"]]
    assert section is not None
    (_, own, other, _), (_, worse, equal, _) = section.rows
    assert own.kind == "own" and other.kind == "" and equal.kind == "own"
    assert own.style.startswith("background: rgba(11, 110, 79") and worse.style == other.style  # both full red
    assert equal.style.endswith("0.00)")


def test_exposure_is_a_ratio_of_tokens() -> None:
    assert texts(exposure_section(SUMMARY)) == [["ar", "1k", "990", "0.990"], ["de", "0", "1k", "–"]]


def test_an_allocation_shows_languages_or_documents() -> None:
    by_language: JsonObject = {"experts": ["expert-00", "expert-01"], "clusters": [["ar", "sw"], ["de"]]}
    assert texts(allocation_section(by_language)) == [
        ["expert-00", "Arabic (ar), Swahili (sw)"],
        ["expert-01", "German (de)"],
    ]
    by_document: JsonObject = {
        "experts": ["expert-00", "expert-01"],
        "documents": {"de": [3, 1]},
        "documents_per_expert": [3, 1],
        "max_over_mean": 1.5,
    }
    section = allocation_section(by_document)
    assert texts(section) == [["de", "3", "1"], ["all", "3", "1"]]
    assert section is not None and "1.500" in section.notes[0]


def test_models_and_data_leave_unknown_figures_open() -> None:
    models: dict[str, Any] = {"dense": {"steps": 10, "tokens_seen": 5000, "training_seconds": 2.0}, "seed": {}}
    assert texts(models_section(models)) == [
        ["dense", "10", "5k", "–", "–", "2.0s", "2.5k"],
        ["seed", "–", "–", "–", "–", "–", "–"],
    ]
    tokens: JsonObject = {"de/train": {"documents": 3, "bytes": 2048, "tokens": 1024}}
    section = data_section(tokens, {"duplicates": {"de": 1}, "rejects": {"bad_json": 2}})
    assert texts(section) == [["de", "3", "2.0 KiB", "1.02k", "0.500", "1", "–"]]
    assert section is not None and section.notes == ["Rows that could not be used: bad json 2."]
    assert texts(times_section({"shards": 65.0})) == [["shards", "1m 05s"]]


def test_absent_records_have_no_section() -> None:
    assert [make({}) for make in (perplexity_section, systems_section, matrix_section, exposure_section)] == [None] * 4
    assert allocation_section({}) is models_section({}) is data_section({}, {}) is times_section({}) is None
