from __future__ import annotations

import csv
import io

import pytest

from app.core.records import JsonObject
from app.reporting.tables import (
    change_text,
    expert_names,
    headline_text,
    main_systems,
    markdown_summary,
    markdown_table,
    table_csv,
    terminal_table,
    text_table,
)
from tests.support.summary import headline


def cell(perplexity: float, change: float | None = None, clear: bool = False) -> JsonObject:
    figures: JsonObject = {
        "perplexity": perplexity,
        "bits_per_byte": 1.25,
        "low": perplexity - 1,
        "high": perplexity + 1,
    }
    figures |= {"documents": 9, "exposure_tokens": 2_000}
    if change is not None:
        figures |= {"change_from_dense": change, "low_from_dense": change - 0.02, "high_from_dense": change + 0.02}
        figures["clear_from_dense"] = clear
    return figures


@pytest.fixture
def summary() -> JsonObject:
    german: JsonObject = {
        "seed": cell(12, 0.2, True),
        "dense": cell(10),
        "expert-00": cell(9.5, -0.05, True),
        "expert-01": cell(30, 2.0, True),
        "ensemble": cell(9.5, -0.05, True),
    }
    swahili: JsonObject = {
        "seed": cell(130.123, 0.3, True),
        "dense": cell(100),
        "expert-00": cell(300, 2.0, True),
        "expert-01": cell(101, 0.01),
        "ensemble": cell(101, 0.01),
    }
    return {
        "k": 2,
        "experts": ["expert-00", "expert-01"],
        "allocation": "typological",
        "tokens_total": 2_000_000,
        **headline(-0.02),
        "languages_compared": 2,
        "wins_over_dense": 1,
        "clear_wins_over_dense": 1,
        "per_language": {"de": german, "sw": swahili},
    }


def test_systems_and_experts_are_told_apart(summary: JsonObject) -> None:
    assert main_systems(summary) == ("seed", "dense", "ensemble")
    assert expert_names(summary) == ["expert-00", "expert-01"]


def test_further_dense_models_stand_after_dense_under_their_names(summary: JsonObject) -> None:
    table = summary["per_language"]
    assert isinstance(table, dict)
    more = {lang: {**cells, "dense_tuned": cell(9)} for lang, cells in table.items()}
    assert main_systems({**summary, "per_language": more}) == ("seed", "dense", "dense_tuned", "ensemble")


def test_the_terminal_table_is_aligned_and_marks_the_lowest_of_each_row(summary: JsonObject) -> None:
    assert terminal_table(summary).splitlines() == [
        "lang     seed    dense  ensemble  ensemble against dense",
        "-" * 60,
        "de     12.00    10.00      9.50*  -5.0% [-7.0%, -3.0%] clear",
        "sw    130.12   100.00*   101.00   +1.0% [-1.0%, +3.0%]",
        "* lowest of its row; change of perplexity with its 95 % interval, clear where that excludes 0",
    ]


def test_markdown_has_the_lowest_of_each_row_in_bold(summary: JsonObject) -> None:
    assert markdown_summary(summary).splitlines() == [
        "| lang | seed | dense | ensemble | ensemble against dense |",
        "|---|---|---|---|---|",
        "| de | 12.00 | 10.00 | **9.50** | -5.0% [-7.0%, -3.0%] clear |",
        "| sw | 130.12 | **100.00** | 101.00 | +1.0% [-1.0%, +3.0%] |",
    ]


def test_a_plain_table_has_names_to_the_left_and_figures_to_the_right() -> None:
    assert text_table(["a", "long"], [["name", "1"], ["b", "22"]]) == "a     long\nname     1\nb       22"


def test_a_bar_in_a_markdown_cell_does_not_end_it() -> None:
    assert markdown_table(["a|b"], [["c"]]) == "| a\\|b |\n|---|\n| c |"


def test_the_headline_says_wins_and_losses(summary: JsonObject) -> None:
    assert headline_text(summary) == (
        "X-ELM (typological, k = 2) against dense at 2M training tokens each: lower perplexity in 1 of 2 languages"
        " (clearly in 1, clearly higher in 0), mean change -2.00% [-3.00%, -1.00%]"
    )


def test_the_headline_says_both_results_where_a_language_can_be_told(summary: JsonObject) -> None:
    both = headline_text({**summary, "systems": {"ensemble_told": headline(-0.04)}})
    assert both.startswith(headline_text(summary))
    assert both.endswith(
        "told the language of each document: 2 of 2 languages (clearly in 2, clearly higher in 0),"
        " -4.00% [-5.00%, -3.00%]"
    )


def test_a_change_is_clear_only_where_the_summary_says_so() -> None:
    figures = {"change_from_dense": 0.1, "low_from_dense": 0.05, "high_from_dense": 0.2, "clear_from_dense": False}
    assert change_text(figures) == "+10.0% [+5.0%, +20.0%]"


def test_csv_has_every_language_system_and_figure(summary: JsonObject) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(summary))))
    assert [(row["language"], row["system"]) for row in rows[4:6]] == [("de", "ensemble"), ("sw", "seed")]
    ensemble = rows[4]
    assert (ensemble["perplexity"], ensemble["exposure_tokens"], ensemble["clear_from_dense"]) == (
        "9.5",
        "2000",
        "True",
    )
    assert rows[1]["system"] == "dense" and rows[1]["change_from_dense"] == ""
