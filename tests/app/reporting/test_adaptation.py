from __future__ import annotations

from typing import Any

from app.reporting import adaptation
from app.reporting.adaptation import adaptation_section

MEANS = ("mean_log_perplexity_ratio", "mean_log_perplexity_ratio_low", "mean_log_perplexity_ratio_high")


def figures(value: float, **against: float) -> dict[str, Any]:
    return {
        **dict.fromkeys(MEANS, value),
        "against": {base: dict.fromkeys(MEANS, change) for base, change in against.items()},
    }


REPORT: dict[str, Any] = {
    "version": 2,
    "unchanged": True,
    "family_tree": [
        {"expert": "expert-00", "languages": ["de"], "parent": "seed", "round": 0},
        {"expert": "expert-01", "languages": ["pl"], "parent": "expert-00", "round": 1, "donor": "de"},
    ],
    "donors_by": "typology",
    "rankings": {
        "typology": {"pl": [["ru", 0.2], ["de", 0.25], ["en", 0.3], ["ja", 0.9]]},
        "perplexity": {"pl": [["de", 4.0]]},
    },
    "not_computed": {"representation": "the ensemble names no seed"},
    "new": {
        "systems": {"after": figures(-0.2, before=-0.1)},
        "per_language": {
            "pl": {"dense": {"perplexity": 9.0}, "after": {"perplexity": 7.5, "change_from_dense": -1 / 6}}
        },
    },
    "old": {"systems": {"after_told": figures(0.0, before=-0.1, before_told=0.0)}, "per_language": {}},
}


def test_the_section_draws_the_tree_and_shows_gain_and_loss() -> None:
    section = adaptation_section(REPORT)
    assert section is not None and "Version 2" in section.notes[0] and "untouched" in section.notes[0]
    assert "expert-01: Polish (donor de)" in section.pictures[0].svg
    donors, new, languages, old = section.tables
    assert [cell.text for cell in donors.rows[0]][1:] == ["ru 0.200, de 0.250, en 0.300", "de 4.000"]
    assert donors.header[1].startswith("typology (chosen): distance of syntax")
    assert any("not computed: representation: the ensemble names no seed" in note for note in section.notes)
    assert [cell.text for cell in new.rows[0]][1:] == ["-18.13% [-18.13%, -18.13%]", "-9.52% [-9.52%, -9.52%]"]
    assert [cell.text for cell in languages.rows[0]][1:] == ["9.00", "7.50 (-16.7%)"]
    assert old.rows[0][2].text.startswith("+0.00%")


def test_a_line_of_the_tree_names_four_languages_and_counts_the_others() -> None:
    label = adaptation._label({"expert": "expert-00", "languages": ["de", "en", "fr", "sw", "tr", "zh"]})
    assert label == "expert-00: German, English, French, Swahili and 2 more"


def test_languages_of_earlier_rounds_have_a_table_of_their_own() -> None:
    section = adaptation_section({**REPORT, "earlier": {"systems": {"after": figures(-0.1, before=0.02)}}})
    assert section is not None
    caption, row = section.tables[-1].caption, section.tables[-1].rows[0]
    assert caption.startswith("Languages of earlier rounds") and row[2].text.startswith("+2.02%")


def test_without_a_round_there_is_no_section() -> None:
    assert adaptation_section({}) is None
