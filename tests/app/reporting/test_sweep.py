from __future__ import annotations

from typing import Any

from app.reporting.sweep import SweepRecords, sweep_headline, sweep_sections


def trial(k: int, strategy: str, change: float, active: float = 1000.0) -> dict[str, Any]:
    return {
        "run": f"s.k-{k}.{strategy}",
        "config": {"k": k, "strategy": strategy},
        "status": "finished",
        "mean_log_ratio": change,
        "low": change - 0.01,
        "high": change + 0.01,
        "worst_language": "sw",
        "worst_log_ratio": change + 0.05,
        "wins": 3,
        "languages": 4,
        "experts_per_token": 1.5,
        "active_parameters": active,
        "training_seconds": 61.0,
    }


TRIALS = [
    trial(2, "typological", -0.05),
    trial(4, "typological", -0.08, 2000.0),
    trial(2, "random", 0.1),
    {"run": "s.bad", "config": {"k": 9, "strategy": "random"}, "status": "failed", "reason": "too many"},
]
FOUND: Any = {"trials": TRIALS, "best": TRIALS[1], "front": ["s.k-2.typological", "s.k-4.typological"]}


def test_every_trial_is_listed_with_its_figures_or_its_reason() -> None:
    sections = sweep_sections(SweepRecords("s", ["k", "strategy"], FOUND))
    rows = [[cell.text for cell in row] for row in sections[0].tables[0].rows]
    assert rows[0][:4] == ["2", "typological", "finished", "-4.88% [-5.82%, -3.92%]"]
    assert rows[3][2:4] == ["failed", "too many"]


def test_the_heat_map_has_a_cell_for_each_combination_and_colours_by_sign() -> None:
    sections = {section.title: section for section in sweep_sections(SweepRecords("s", ["k", "strategy"], FOUND))}
    mean, worst = sections["k and strategy"].tables
    cells = {row[0].text: row[1:] for row in mean.rows}
    assert list(mean.header) == ["strategy", "k = 2", "k = 4"]
    assert [cell.text for cell in cells["typological"]] == ["-4.88%", "-7.69%"]
    assert (
        cells["random"][1].text == "" and "213" in cells["random"][0].style and "158" in cells["typological"][0].style
    )
    assert worst.rows[1][1].text == "+0.00%"


def test_the_best_k_of_a_budget_that_was_not_tried_is_marked_and_a_missing_fit_says_why() -> None:
    place = {"budget_tokens": 4e6, "k": 8, "k_low": 2, "k_high": 8, "share": 0.75, "mean_log_ratio": -0.08}
    fit = {"at": [{**place, "low": -0.1, "high": -0.06, "extrapolated": True}]}
    records = SweepRecords("s", ["k"], {**FOUND, "budget": fit})
    section = next(section for section in sweep_sections(records) if section.title == "k and budget")
    row = [cell.text for cell in section.tables[0].rows[0]]
    assert row[1:4] == ["8 (2 to 8)", "75%", "-7.69% [-9.52%, -5.82%]"] and "extrapolated" in row[4]
    without = sweep_sections(SweepRecords("s", ["k"], {**FOUND, "budget": {"reason": "too few"}}))
    assert "No fit: too few." in [note for section in without for note in section.notes]


def test_the_front_is_drawn_and_the_best_is_the_headline() -> None:
    records = SweepRecords("s", ["k", "strategy"], FOUND, {"s.k-2.typological": [(10.0, 3.0), (20.0, 2.0)]})
    titles = [section.title for section in sweep_sections(records)]
    assert titles == ["Trials", "k and strategy", "What quality costs", "Loss"]
    assert sweep_headline(records).startswith("4 trials; best s.k-4.typological: -7.69%")
    assert sweep_headline(SweepRecords("s", ["k"], {"trials": [], "best": None})) == "0 trials, none finished"
