from __future__ import annotations

from app.core.records import JsonObject
from app.reporting.allocation import allocation_section, terms_section, tree_section
from tests.support.summary import texts


def test_an_allocation_shows_languages_or_documents() -> None:
    by_language: JsonObject = {"experts": ["expert-00", "expert-01"], "clusters": [["ar", "sw"], ["de"]]}
    assert texts(allocation_section(by_language, {}, {})) == [
        ["expert-00", "Arabic (ar), Swahili (sw)"],
        ["expert-01", "German (de)"],
    ]
    by_document: JsonObject = {
        "experts": ["expert-00", "expert-01"],
        "documents": {"de": [3, 1]},
        "documents_per_expert": [3, 1],
        "max_over_mean": 1.5,
    }
    section = allocation_section(by_document, {}, {})
    assert texts(section) == [["de", "3", "1"], ["all", "3", "1"]]
    assert section is not None and "1.500" in section.notes[0]


def test_how_often_the_owner_is_found_stands_beside_each_language() -> None:
    record: JsonObject = {
        "experts": ["a", "b"],
        "documents": {"de": [3, 1], "sw": [0, 2]},
        "documents_per_expert": [3, 3],
        "max_over_mean": 1.0,
        "owner_agreement": {"de": 0.95},
        "owner_agreement_early": {"de": 0.5},
    }
    section = allocation_section(record, {}, {})
    assert section is not None
    assert [cell.text for cell in section.tables[0].rows[0]][-2:] == ["95.0%", "50.0%"]
    assert [cell.text for cell in section.tables[0].rows[1]][-2:] == ["", ""]
    assert {len(row) for row in section.tables[0].rows} == {5} == {len(section.tables[0].header)}


def test_bars_of_language_level_parts_are_training_tokens() -> None:
    tokens: JsonObject = {"ar/train": {"tokens": 100}, "de/train": {"tokens": 300}, "de/validation": {"tokens": 9}}
    models: dict[str, JsonObject] = {"a": {"exposure_tokens": {"ar": 50}}, "b": {"exposure_tokens": {"de": 20}}}
    section = allocation_section({"experts": ["a", "b"], "clusters": [["ar"], ["de"]]}, tokens, models)
    assert section is not None and len(section.pictures) == 1
    svg = section.pictures[0].svg
    assert "training tokens that it holds" in svg and "tokens that it was trained on" in svg and ">de<" in svg


def test_the_tree_names_every_language_and_the_cut() -> None:
    merges: list[JsonObject] = [
        {"left": ["de"], "right": ["en"], "distance": 0.125},
        {"left": ["de", "en"], "right": ["ja"], "distance": 0.5},
    ]
    section = tree_section(merges, 2, {"de": 87})
    assert section is not None
    svg = section.pictures[0].svg
    for text in ("German (de) · 87", "English (en)", "Japanese (ja)", "k = 2", "0.12", "0.50"):
        assert text in svg
    assert tree_section([], 2, {}) is None


def test_terms_stand_one_by_one_beside_their_expert() -> None:
    section = terms_section({"expert-00": ["und·", "中国"], "expert-01": []})
    assert section is not None
    assert [cell.text or cell.terms for row in section.tables[0].rows for cell in row] == [
        "expert-00",
        ("und·", "中国"),
        "expert-01",
        (),
    ]
    assert terms_section({}) is None
