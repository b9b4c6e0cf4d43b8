from __future__ import annotations

import yaml

from app.core.records import JsonObject
from app.reporting.model_card import Origin, ensemble_card, model_card

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

ENSEMBLE: JsonObject = {
    "run": "demo",
    "experts": [{"name": "expert-00", "languages": ["de", "en"]}],
    "mixing": {"name": "one_hot", "temperature": 0.1, "top_m": 0},
}
XGLM = Origin("facebook/xglm-1.7B", "mit")


def test_the_front_matter_is_what_the_hub_reads() -> None:
    _, front, _ = model_card(LINEAGE, {}, Origin()).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "language": ["ar", "de"],
        "library_name": "transformers",
        "tags": ["x-elm", "expert"],
    }


def test_a_card_tells_the_chain_of_parents_the_exposure_and_the_perplexity() -> None:
    card = model_card(LINEAGE, {"de": 7.604, "en": 12.0}, Origin())
    assert "- parents: expert (`k1`) ← seed (`k0`)" in card and "sha256 `f00d`" in card and "round 1" in card
    assert "| de (German) | 300k | 7.60 |" in card and "| ar (Arabic) | 200k | – |" in card
    assert "| en (English) | – | 12.00 |" in card


def test_a_model_from_elsewhere_has_no_figures_and_says_so() -> None:
    card = model_card({**LINEAGE, "exposure_tokens": {}, "tokens_seen": None, "parents": []}, {}, Origin())
    assert "- parents: none" in card and "tokens seen: –" in card and "|---|" not in card


def test_the_ensembles_card_lists_its_experts_and_how_they_are_mixed() -> None:
    card = ensemble_card(ENSEMBLE, {}, Origin())
    assert "| [expert-00](expert-00) | de, en |" in card and "one_hot" in card and "m = all" in card
    assert 'subfolder="expert-00"' in card and "lower perplexity" not in card


def test_a_card_names_the_base_model_and_its_licence_where_they_are_known() -> None:
    for card in (model_card(LINEAGE, {}, XGLM), ensemble_card(ENSEMBLE, {}, XGLM)):
        header = yaml.safe_load(card.split("---\n", 2)[1])
        assert header["license"] == "mit" and header["base_model"] == "facebook/xglm-1.7B"
        assert "base model: `facebook/xglm-1.7B`" in card and "licence: mit" in card


def test_a_seed_that_the_hub_does_not_have_is_named_in_the_text_alone() -> None:
    card = model_card(LINEAGE, {}, Origin("builtin:demo", "apache-2.0"))
    header = yaml.safe_load(card.split("---\n", 2)[1])
    assert "base_model" not in header and header["license"] == "apache-2.0" and "`builtin:demo`" in card


def test_an_unknown_licence_is_said_to_be_unknown() -> None:
    assert "license" not in yaml.safe_load(model_card(LINEAGE, {}, Origin()).split("---\n", 2)[1])
    assert "licence: none is named" in model_card(LINEAGE, {}, Origin())
    assert "licence: that of the base model" in model_card(LINEAGE, {}, Origin("facebook/xglm-1.7B"))
