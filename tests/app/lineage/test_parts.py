from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.core.errors import StaleArtifact
from app.core.records import JsonValue
from app.lineage.parts import Part, expert_weights, read_parts
from tests.support.token_store import numbered, write_corpus


def cut(store: Store, **counts: JsonValue) -> StageFolder:
    stage = store.stage("allocation", "a", "python -m jobs.allocate")
    experts: dict[str, JsonValue] = {"experts": ["expert-00", "expert-01"], "unit": "document"}
    stage.publish(Manifest("allocation", "a", {}, {}, {**experts, **counts}))
    return stage


def test_what_experts_hold_is_read_from_the_manifest_alone(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "tokens", numbered({"de": [[3, 4]], "en": [[5]]}))
    documents: JsonValue = {"de": [1, 1], "en": [0, 1]}
    tokens: JsonValue = {"de": [3, 4], "en": [0, 5]}
    digests: JsonValue = {"de": ["x", "y"], "en": ["none", "z"]}
    stage = cut(Store(str(tmp_path)), documents=documents, tokens=tokens, digests=digests)
    assert read_parts(stage, corpus) == [
        Part("expert-00", {"de": "x"}, {"de": 3}),
        Part("expert-01", {"de": "y", "en": "z"}, {"de": 4, "en": 5}),
    ]


def test_a_cut_of_an_earlier_version_is_refused_with_the_cure(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "tokens", numbered({"de": [[3, 4]]}))
    with pytest.raises(StaleArtifact, match=r"is of an earlier version .* run python -m jobs\.allocate again"):
        read_parts(cut(Store(str(tmp_path)), documents={"de": [1, 1]}), corpus)


def test_an_experts_share_of_the_mixture_is_the_weight_times_the_tokens_it_holds() -> None:
    part = Part("expert-00", {"de": "all", "en": "all"}, {"de": 1000, "en": 250})
    weights = expert_weights(part, {"de": 0.5, "en": 0.5}, {"de": 1000, "en": 1000}, 64)
    assert weights == {"de": 0.5, "en": 0.125}


def test_the_shares_of_all_experts_add_up_to_the_whole_mixture() -> None:
    mixture, totals = {"de": 0.7, "en": 0.3}, {"de": 900, "en": 300}
    parts = [Part("a", {}, {"de": 600, "en": 100}), Part("b", {}, {"de": 300, "en": 200})]
    shares = [sum(expert_weights(part, mixture, totals, 10).values()) for part in parts]
    assert sum(shares) == pytest.approx(1.0)


def test_a_language_with_less_than_a_row_gets_no_weight() -> None:
    part = Part("a", {}, {"de": 600, "en": 9})
    assert set(expert_weights(part, {"de": 0.5, "en": 0.5}, {"de": 600, "en": 300}, 10)) == {"de"}
