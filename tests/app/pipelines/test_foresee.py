from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.artifacts.ensemble import EnsembleRecord, ExpertRecord
from app.artifacts.store import Store
from app.core.errors import ConfigError
from app.pipelines.foresee import foresee_adaptation, missing_groups
from jobs.adapt import main
from tests.app.pipelines.test_adapt import config_of


def test_the_papers_donors_come_without_corpus_or_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"--set=artifacts.root={tmp_path}"
    assert main(["--preset", "adaptation", "--dry-run", "--format", "json", root]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["donors"] == {"az": "tr", "he": "ar", "pl": "ru", "sv": "en"} and found["donors_by"] == "typology"
    assert found["rankings"]["typology"]["pl"][0][0] == "ru" and len(found["rankings"]["typology"]["pl"]) == 16
    assert found["not_computed"] == dict.fromkeys(("perplexity", "representation"), "run adaptation has no experts yet")
    assert [model["tokens"] for model in found["forecast"]["models"][:3]] == [20971520000 // 8] * 3
    assert found["family_tree"][-1] == {
        "expert": "expert-11",
        "languages": ["sv"],
        "donor": "en",
        "parent": "expert-00",
        "round": 1,
    }


def test_what_cannot_be_foreseen_is_an_error_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="once the run is finished"):
        foresee_adaptation(
            config_of(tmp_path, "allocation.strategy=random", "adaptation.languages=sv"), Store(str(tmp_path))
        )
    with pytest.raises(ConfigError, match=r"adaptation\.languages is empty"):
        foresee_adaptation(config_of(tmp_path), Store(str(tmp_path)))


def test_remove_takes_the_place_of_the_languages_that_a_preset_adds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--remove", "az"], ["--remove=az"]):
        assert main(["--preset", "adaptation", *option, "--dry-run", f"--set=artifacts.root={tmp_path}"]) == 2
        assert "not both" not in (said := capsys.readouterr().err) and "adaptation.languages is empty" in said
    assert main(["--preset", "adaptation", "--remove", "az", "--languages", "sv", "--dry-run"]) == 2
    assert "not both" in capsys.readouterr().err


def test_groups_that_an_added_expert_holds_are_done_and_those_of_a_first_one_are_left_to_be_refused() -> None:
    first = ExpertRecord("expert-00", "m0", "seed", 0, ("de", "en"), "")
    added = ExpertRecord("expert-01", "m1", "m0", 1, ("sv", "da"), "")
    record = EnsembleRecord("run", (first, added), "a", "t", {})
    assert missing_groups(record, [("sv",), ("de",), ("sv", "fi"), ("pl",)]) == [("de",), ("sv", "fi"), ("pl",)]
