from __future__ import annotations

from app.core.records import JsonObject
from app.reporting.groupings import groupings_section, probe_section
from tests.support.summary import texts

PAIR: JsonObject = {"one": "a", "other": "b", "over": "languages", "rand": 0.25, "information": 0.5}


def test_agreement_balance_and_what_nearness_predicts_are_tables() -> None:
    told: JsonObject = {"typology": {"correlation": 0.4, "cases": 32, "runs": 2}}
    section = groupings_section({"agreement": [PAIR], "balance": {"a": 1.0, "b": 1.25}, "predicted": told})
    assert section is not None and len(section.tables) == 3 and len(section.notes) == 2
    assert texts(section) == [["a", "b", "+0.250", "+0.500", "languages"]]
    assert [[cell.text for cell in row] for row in section.tables[1].rows] == [["a", "1.000"], ["b", "1.250"]]
    assert [[cell.text for cell in row] for row in section.tables[2].rows] == [["typology", "+0.400", "32", "2"]]


def test_one_cut_alone_is_compared_with_nothing() -> None:
    assert groupings_section({"agreement": [], "balance": {"a": 1.0}, "predicted": {}}) is None
    section = groupings_section({"agreement": [PAIR], "balance": {}, "predicted": {}})
    assert section is not None and len(section.tables) == 2


def test_a_probe_is_a_table_of_pairs() -> None:
    section = probe_section({"probe": "transfer", "languages": ["de", "en"], "distances": [[0.0, -0.5], [-0.5, 0.0]]})
    assert section is not None and "help each other" in section.notes[0]
    assert texts(section) == [["de", "+0.000", "-0.500"], ["en", "-0.500", "+0.000"]]
    assert probe_section({}) is None


def test_a_probe_of_layers_says_which_ones_dmoe_would_split() -> None:
    layers: JsonObject = {"mean": [0.5, 2.0], "scaled": [0.0, 1.0], "chosen": [1], "least": 0.6}
    found: JsonObject = {"probe": "deviation", "languages": ["de"], "distances": [[0.0]], "layers": layers}
    section = probe_section(found)
    assert section is not None and "at least 0.6" in section.notes[1]
    rows = [[cell.text for cell in row] for row in section.tables[1].rows]
    assert rows == [["1", "0.5", "0.00", "no"], ["2", "2", "1.00", "yes"]]
