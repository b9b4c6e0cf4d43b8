from __future__ import annotations

from pathlib import Path

from app.adaptation.rounds import NewExpert
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord
from app.artifacts.store import Store
from app.config.load import load_config
from app.lineage.adapted import ancestors, base_allocation, expert_budget, grown_allocation, grown_shares, owners_of

FIRST = (
    ExpertRecord("expert-00", "k0", "seed", 0, ("de", "en"), "d0"),
    ExpertRecord("expert-01", "k1", "seed", 0, ("ja",), "d1"),
    ExpertRecord("expert-02", "k2", "k1", 1, ("ko",), "d2"),
)
SHARES = {"de": (1.0, 0.0, 0.0), "en": (0.4, 0.6, 0.0)}
RECORD = EnsembleRecord("run", FIRST, "a", "t", {"dense": "kd"}, {}, SHARES)
ADDED = [
    NewExpert("expert-03", ("sv", "da"), "en", "expert-01", 2),
    NewExpert("expert-04", ("pl",), "de", "expert-00", 2),
]


def test_a_language_is_owned_by_whom_the_record_says_or_by_who_holds_most_of_it() -> None:
    assert owners_of(RECORD) == {"de": "expert-00", "en": "expert-01", "ja": "expert-01", "ko": "expert-02"}


def test_ancestors_name_their_parents_and_rounds() -> None:
    assert [(node["expert"], node["parent"], node["round"]) for node in ancestors(RECORD)] == [
        ("expert-00", "seed", 0),
        ("expert-01", "seed", 0),
        ("expert-02", "expert-01", 1),
    ]


def test_added_experts_hold_all_of_their_own_languages_and_nothing_of_old_ones() -> None:
    assert grown_shares(SHARES, 3, ADDED) == {
        "de": (1.0, 0.0, 0.0, 0.0, 0.0),
        "en": (0.4, 0.6, 0.0, 0.0, 0.0),
        "sv": (0.0, 0.0, 0.0, 1.0, 0.0),
        "da": (0.0, 0.0, 0.0, 1.0, 0.0),
        "pl": (0.0, 0.0, 0.0, 0.0, 1.0),
    }
    assert grown_shares({}, 3, ADDED) == {}


def test_an_allocation_knows_what_was_added_to_which(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    stage = grown_allocation(store, "base", ADDED)
    stage.publish({}, 0.0)
    base, added = base_allocation(store, stage.key)
    assert base == "base"
    assert [(new.name, new.languages, new.parent) for new in added] == [
        ("expert-03", ("sv", "da"), "expert-01"),
        ("expert-04", ("pl",), "expert-00"),
    ]
    assert grown_allocation(store, "base", ADDED[:1]).key != stage.key


def test_a_new_expert_has_as_many_tokens_as_the_first_ones_unless_told() -> None:
    assert expert_budget(load_config("demo", overrides=["training.budget_tokens=800"]), 8) == 100
    assert expert_budget(load_config("demo", overrides=["adaptation.budget_tokens=7"]), 8) == 7
