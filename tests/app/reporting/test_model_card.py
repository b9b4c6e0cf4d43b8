from __future__ import annotations

import yaml

from app.core.records import JsonObject
from app.reporting.model_card import ensemble_card, model_card

LINEAGE: JsonObject = {
    "run": "demo",
    "kind": "expert",
    "name": "expert-02",
    "key": "abc",
    "weights_sha256": "f00d",
    "tokens_seen": 500_000,
    "exposure_tokens": {"de": 300_000, "ar": 200_000},
    "round": 1,
    "parents": [{"name": "expert", "key": "k1"}, {"name": "seed", "key": "k0"}],
}


def test_the_front_matter_is_what_the_hub_reads() -> None:
    _, front, _ = model_card(LINEAGE, {}).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "language": ["ar", "de"],
        "library_name": "transformers",
        "tags": ["x-elm", "expert"],
    }


def test_a_card_tells_the_chain_of_parents_the_exposure_and_the_perplexity() -> None:
    card = model_card(LINEAGE, {"de": 7.604, "en": 12.0})
    assert "- parents: expert (`k1`) ← seed (`k0`)" in card and "sha256 `f00d`" in card and "round 1" in card
    assert "| de (German) | 300k | 7.60 |" in card and "| ar (Arabic) | 200k | – |" in card
    assert "| en (English) | – | 12.00 |" in card


def test_a_model_from_elsewhere_has_no_figures_and_says_so() -> None:
    card = model_card({**LINEAGE, "exposure_tokens": {}, "tokens_seen": None, "parents": []}, {})
    assert "- parents: none" in card and "tokens seen: –" in card and "|---|" not in card


def test_the_ensembles_card_lists_its_experts_and_how_they_are_mixed() -> None:
    ensemble: JsonObject = {
        "run": "demo",
        "experts": [{"name": "expert-00", "languages": ["de", "en"]}],
        "mixing": {"name": "one_hot", "temperature": 0.1, "top_m": 0},
    }
    card = ensemble_card(ensemble, {})
    assert "| [expert-00](expert-00) | de, en |" in card and "one_hot" in card and "m = all" in card
    assert 'subfolder="expert-00"' in card and "lower perplexity" not in card
