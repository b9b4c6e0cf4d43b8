from __future__ import annotations

from typing import Any

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
    new, languages, old = section.tables
    assert [cell.text for cell in new.rows[0]][1:] == ["-18.13% [-18.13%, -18.13%]", "-9.52% [-9.52%, -9.52%]"]
    assert [cell.text for cell in languages.rows[0]][1:] == ["9.00", "7.50 (-16.7%)"]
    assert old.rows[0][2].text.startswith("+0.00%")


def test_without_a_round_there_is_no_section() -> None:
    assert adaptation_section({}) is None
