from __future__ import annotations

import math

from app.core.records import JsonObject
from app.evaluation.confusion import Confusion, as_counts
from app.reporting.cross_lingual import cross_lingual_section, cross_lingual_text
from tests.support.summary import texts

DE: JsonObject = {"lang": "de", "seed_bits": 0.9}
UNSEEN: JsonObject = {
    "correlation": 0.4,
    "cases": 4,
    "nearest": math.log(1.1),
    "farthest": math.log(1.5),
    "languages": 2,
    "nearest_wins": 1,
    "rows": [
        {**DE, "expert": "b", "nearest": "ru", "distance": 0.2, "log_ratio": math.log(1.1), "bits": 1.0},
        {**DE, "expert": "c", "nearest": "ja", "distance": 0.6, "log_ratio": math.log(1.5), "bits": 1.5},
    ],
    "own": {"de": math.log(0.9)},
    "undescribed": ["xx"],
}
RIGHT = {**as_counts(Confusion(outputs=4, outputs_right=3, lines=8, lines_right=6, lined=4, passed=2)), "tokens": 9}
CONFUSION: JsonObject = {
    "systems": {"held_out": {"de": RIGHT, "xx": {"tokens": 9, "seconds": 1.0}}, "ensemble": {"de": RIGHT}},
    "unknown": ["xx"],
}
COST: JsonObject = {"name": "ensemble", "models": 4, "passes": 1.25, "stored": 2048, "memory": 1024}
COSTS: JsonObject = {"systems": [{**COST, "scoring": 0.00002, "writing": None}], "texts": 8}


def test_each_question_is_a_table_and_what_is_left_out_is_named() -> None:
    section = cross_lingual_section({"unseen": UNSEEN, "confusion": CONFUSION, "costs": COSTS, "missing": {}})
    assert section is not None and len(section.tables) == 4
    assert texts(section) == [["de", "-10.00%", "b (ru, 0.20)", "+10.00%", "c (ja, 0.60)", "+50.00%"]]
    assert texts(section, 1)[1] == ["ensemble", "75%", "75%", "–", "50%", "–"]
    assert texts(section, 2) == [["de", "50%", "50%"]]
    assert texts(section, 3) == [["ensemble", "4", "1.25", "2.0 KiB", "1.0 KiB", "20", "–"]]
    assert "1 of 2 languages (mean change against the seed +10.00% and +50.00%)" in section.notes[0]
    assert "Too few features are known of xx" in section.notes[0] and "judged nowhere: xx" in " ".join(section.notes)
    assert section.tables[0].csv.splitlines()[1] == f"de,b,ru,0.2,{math.log(1.1)},1.0,0.9"


def test_cuts_and_rounds_have_a_row_each() -> None:
    means = {f"mean_log_perplexity_ratio{end}": math.log(0.9) for end in ("", "_low", "_high")}
    langs: list[JsonObject] = [{"lang": "de", "company": 0.25, "other_company": None, "log_ratio": -0.1}]
    cut: JsonObject = {
        "run": "apart",
        "cut": "random",
        "company": 0.25,
        "other_company": None,
        **means,
        "rows": [*langs],
    }
    cut |= {"wins": 1, "clear_wins": 1, "clear_losses": 0, "correlation": None}
    changes = {"before": math.log(2), "own": math.log(0.5), "donor": 0.0, "relatives": None, "others": None}
    added: JsonObject = {
        "expert": "e",
        "parent": "p",
        "languages": ["az"],
        "donor_language": "tr",
        "round": 1,
        **changes,
    }
    rounds: JsonObject = {"rounds": 1, "correlation": 0.5, "cases": 3, "rows": [added]}
    section = cross_lingual_section({"together": {"cuts": [cut]}, "rounds": rounds})
    change = "-10.00% [-10.00%, -10.00%]"
    assert texts(section) == [["apart (random)", "0.25 / –", change, "1 of 1", "1 / 0", "–"]]
    assert texts(section, 1) == [["1: e (az)", "tr (p)", "+100.00%", "-50.00%", "+0.00%", "–", "–"]]
    assert section is not None and "Over 1 rounds" in section.notes[1] and "+0.50 over 3 pairs" in section.notes[1]
    assert section.tables[0].csv.splitlines()[1] == "apart,de,0.25,,-0.1"


def test_a_question_without_an_answer_says_what_gives_it() -> None:
    answers: JsonObject = {"costs": COSTS, "missing": {"confusion": "no text yet: python -m jobs.cross_lingual"}}
    section = cross_lingual_section(answers)
    assert section is not None and len(section.tables) == 1
    assert "language of what is written: no text yet: python -m jobs.cross_lingual" in section.notes[-1]
    assert cross_lingual_text(answers).startswith("What each takes\nsystem") and cross_lingual_section({}) is None


def test_text_of_which_no_language_was_judged_has_no_table_without_rows() -> None:
    cell: JsonObject = {"tokens": 4, "seconds": 1.0}
    answers: JsonObject = {
        "confusion": {"systems": {"held_out": {"de": cell}, "dense": {"de": cell}}, "unknown": ["de"]}
    }
    section = cross_lingual_section(answers)
    assert section is not None and all(table.rows for table in section.tables)
    assert any("judged nowhere: de" in note for note in section.notes)
