from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.ensemble import ensemble_versions, read_ensemble
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import AllocationError, ConfigError, MissingArtifact
from app.lineage.lineage import Lineage
from app.pipelines.adapt import adapt_run, foresee_adaptation
from app.pipelines.evaluate import make_evaluation
from app.pipelines.report import make_report
from jobs.adapt import main
from serve.loading import load_ensemble
from tests.support.tiny import TINY


def config_of(root: Path, *more: str) -> Config:
    return load_config("demo", overrides=[*TINY, f"artifacts.root={root}", *more])


def test_the_papers_donors_come_without_corpus_or_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"--set=artifacts.root={tmp_path}"
    assert main(["--preset", "adaptation", "--dry-run", "--format", "json", root]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["donors"] == {"az": "tr", "he": "ar", "pl": "ru", "sv": "en"}
    assert found["rankings"]["typology"]["pl"][0][0] == "ru" and len(found["rankings"]["typology"]["pl"]) == 16
    assert found["family_tree"][-1] == {
        "expert": "expert-11",
        "languages": ["sv"],
        "donor": "en",
        "parent": "expert-00",
        "round": 1,
    }
    with pytest.raises(ConfigError, match="once the run is finished"):
        foresee_adaptation(
            config_of(tmp_path, "allocation.strategy=random", "adaptation.languages=sv"), Store(str(tmp_path))
        )
    with pytest.raises(ConfigError, match=r"adaptation\.languages is empty"):
        foresee_adaptation(config_of(tmp_path), Store(str(tmp_path)))


@pytest.mark.timeout(600)
def test_languages_join_leave_and_leave_everything_else_as_it_was(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run[1].root, tmp_path / "root")
    store = Store(str(tmp_path / "root"))
    run = store.run("tiny")
    models = tmp_path / "root/store/model"
    before = {file: file.read_bytes() for file in models.glob("*/final/model.safetensors")}
    first = read_ensemble(run, "")
    config = config_of(
        tmp_path / "root",
        "adaptation.languages=sv,pl",
        "adaptation.in_turn=true",
        "adaptation.budget_tokens=9000",
        "adaptation.lapt=false",
    )
    made: Any = adapt_run(config, store)
    assert made["version"] == 2 and made["donors"] == {"sv": "en", "pl": "de"}
    grown = read_ensemble(run, "")
    assert grown.experts[:2] == first.experts and [expert.round for expert in grown.experts] == [0, 0, 1, 2]
    parents = {expert.name: expert.parent for expert in grown.experts}
    of_english = next(expert for expert in first.experts if "en" in expert.languages)
    assert parents["expert-02"] == of_english.model
    assert {file: file.read_bytes() for file in before} == before
    old, told = made["report"]["old"]["per_language"], made["report"]["old"]["systems"]["after_told"]
    assert made["report"]["unchanged"] and told["against"]["before_told"]["mean_log_perplexity_ratio"] == 0.0
    assert set(old) == {"de", "en", "hi", "ja"} and set(made["report"]["new"]["per_language"]) == {"pl", "sv"}
    new = made["report"]["new"]["systems"]
    assert new["after_told"]["against"]["before"]["mean_log_perplexity_ratio"] < 0
    ensemble = load_ensemble(store, "tiny")
    assert ensemble.languages["expert-02"] == ("sv",) and len(ensemble.experts) == 4
    assert len(load_ensemble(store, "tiny", version=1).experts) == 2

    again: Any = adapt_run(config, store)
    assert again["version"] == 2 and ensemble_versions(run) == [1, 2]
    make_evaluation(Lineage(config, store))
    assert read_ensemble(run, "").version == 2
    make_report(Lineage(config, store))
    assert "New languages" in (tmp_path / "root/runs/tiny/report/index.html").read_text()

    removed: Any = adapt_run(config_of(tmp_path / "root", "adaptation.remove=sv"), store)
    assert removed["removed"] == ["expert-02"] and removed["version"] == 3
    left = read_ensemble(run, "")
    assert [expert.name for expert in left.experts] == ["expert-00", "expert-01", "expert-03"]
    assert "sv" not in left.shares and left.shares["pl"] == (0.0, 0.0, 1.0)
    assert load_ensemble(store, "tiny").allocator.experts == ("expert-00", "expert-01", "expert-03")
    with pytest.raises(ConfigError, match="no added expert holds de"):
        adapt_run(config_of(tmp_path / "root", "adaptation.remove=de"), store)
    with pytest.raises(AllocationError, match=r"belongs to .* already"):
        adapt_run(config_of(tmp_path / "root", "adaptation.languages=de"), store)


def test_without_a_run_the_command_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.evaluate"):
        adapt_run(config_of(tmp_path, "adaptation.languages=sv"), Store(str(tmp_path)))
