from __future__ import annotations

import math

import pytest

from app.core.records import JsonObject
from app.evaluation.published import published_baseline, published_matrix
from app.reporting import results
from app.reporting.results import matrix_section, perplexity_section, systems_section
from tests.support.summary import SUMMARY, headline, texts


def test_the_lowest_perplexity_is_best_and_a_clear_win_is_marked() -> None:
    section = perplexity_section(SUMMARY)
    assert section is not None and list(section.tables[0].header[:4]) == ["language", "seed", "dense", "ensemble"]
    arabic, german = section.tables[0].rows
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
    assert any("(rule: posterior)" in note for note in section.notes)


def test_plots_share_one_scale() -> None:
    section = perplexity_section(SUMMARY)
    assert section is not None
    plots = [row[6].plot for row in section.tables[0].rows]
    assert plots[0] is not None and plots[1] is not None
    assert plots[0].zero == plots[1].zero == plots[1].low  # the German interval begins at no change
    assert 0 < plots[0].low < plots[0].point < plots[0].high < plots[0].zero < plots[1].point < plots[1].high
    assert plots[1].high < plots[1].width


def test_languages_carry_their_names_and_direction() -> None:
    section = perplexity_section(SUMMARY)
    assert section is not None
    arabic, german = (row[0] for row in section.tables[0].rows)
    assert arabic.names == ("Arabic", "العربية") and arabic.right_to_left
    assert german.names == ("German", "Deutsch") and not german.right_to_left


def test_the_ensembles_systems_stand_before_single_experts() -> None:
    rows = texts(systems_section(SUMMARY))
    assert [row[0] for row in rows] == ["ensemble, told", "ensemble", "expert-00"]


def test_a_system_shows_what_it_is_told_what_it_took_and_what_a_token_costs() -> None:
    told, ensemble, expert = texts(systems_section(SUMMARY))
    change = "-5.00% [-6.00%, -4.00%]"
    steps = "121 to 122 in each of 2 experts"
    assert ensemble == ["ensemble", "no", "2 of 2", "2", "0", "2 of 2", change, steps, "1.40"]
    assert told[1] == "yes" and told[6] == "-6.00% [-7.00%, -5.00%]"
    assert expert == ["expert-00", "no", "2 of 2", "2", "1", "2 of 2", "+10.00% [+9.00%, +11.00%]", "122", "1.00"]


def test_the_page_says_what_is_equal_and_what_is_not() -> None:
    sections = [perplexity_section(SUMMARY), systems_section(SUMMARY)]
    notes = " ".join(note for section in sections if section is not None for note in section.notes)
    for text in (
        "optimizer steps, 488 of dense against 121 to 122 of an expert",
        "at least 20 documents (2 languages). About 0.1 of them would be clear by chance",
        "no language is told",
        "it equals top-1 lang",
        "posterior: an expert's weight is in proportion to the probability",
    ):
        assert text in notes
    assert "paper's rule" not in notes  # it is not in this summary


def test_equal_exposure_is_only_said_where_it_was_counted() -> None:
    def note(experts: int) -> str:
        cells = {
            lang: {"dense": {"exposure_tokens": 1000}, "ensemble": {"exposure_tokens": n}}
            for lang, n in (("de", 1010), ("sw", experts))
        }
        return results._exposure_note(cells)

    assert note(990) == "Equal too: how often each language is seen."
    assert note(1500) == "Not equal: how often 1 of 2 languages are seen; see Exposure."


def test_ways_of_using_the_experts_are_compared_with_further_dense_models() -> None:
    line = {"wins": 1, "clear_wins": 1, "clear_losses": 0, **headline(-0.03)}
    systems = {"ensemble": {**headline(-0.05), "against": {"dense_tuned": line}}}
    section = systems_section({**SUMMARY, "systems": systems})
    assert texts(section, 1) == [["ensemble", "dense_tuned", "1", "1", "0", "-3.00% [-4.00%, -2.00%]"]]


def test_the_matrix_is_coloured_by_the_ratio_to_dense_and_frames_the_own_expert() -> None:
    section = matrix_section(SUMMARY, {})
    assert texts(section) == [["ar", "8.00", "20.00", "10.00"], ["de", "15.00", "10.00", "10.00"]]
    assert section is not None
    (_, own, other, _), (_, worse, equal, _) = section.tables[0].rows
    assert own.kind == "own" and other.kind == "" and equal.kind == "own"
    assert own.style.startswith("background: rgba(11, 110, 79") and worse.style != other.style
    assert equal.style.endswith("0.000)")


def test_only_the_largest_difference_of_both_tables_has_the_full_colour() -> None:
    published: JsonObject = {"allocation": "tfidf", "k": 1, "matrix": {"ar": [40.0]}, "baseline": {"ar": 10.0}}
    section = matrix_section(SUMMARY, {**published, "source": "a paper"})
    assert section is not None
    ours, theirs = ([cell.style for row in table.rows for cell in row if cell.style] for table in section.tables)
    strengths = [float(style.rstrip(")").rpartition(" ")[2]) for style in (*ours, *theirs)]
    ratios = [abs(math.log(ratio)) / math.log(4.0) for ratio in (0.8, 2.0, 1.5, 1.0, 4.0)]
    assert strengths == [pytest.approx(0.6 * math.sqrt(ratio), abs=1e-3) for ratio in ratios]
    assert "a factor of 4.00" in section.notes[0]


def test_the_published_matrix_stands_beside_ours_with_its_source() -> None:
    published: JsonObject = {
        "allocation": "typological",
        "k": 4,
        "matrix": dict(published_matrix("typological", 4)),
        "baseline": dict(published_baseline()),
        "source": "where it is from",
    }
    section = matrix_section(SUMMARY, published)
    assert section is not None and [table.caption for table in section.tables] == ["this run", "published"]
    german = next(row for row in texts(section, 1) if row[0] == "de")
    assert german == ["de", "15.46", "16.13", "14.07", "16.86", "15.96"]  # read off the paper's figure
    (row,) = (row for row in section.tables[1].rows if row[0].text == "de")
    assert [cell.kind for cell in row[1:]] == ["", "", "own", "", ""]
    assert "where it is from" in section.notes[-1]
