from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.artifacts.ensemble import ExpertRecord, read_ensemble, write_ensemble
from app.config.load import load_config
from app.config.merging import MergeConfig
from app.core.errors import ConfigError, MissingArtifact
from app.models.load import load_model
from app.pipelines.export import export_run
from app.pipelines.merge import merge_run, merge_weights
from jobs.merge import main
from serve.loading import load_ensemble
from tests.app.pipelines.test_import_experts import folder, imported
from tests.support.serving import post, served

EXPERTS = tuple(ExpertRecord(f"expert-0{number}", f"key{number}", None, 0, (), "") for number in range(3))
SHARES = {"de": (0.25, 0.75, 0.0)}


def test_weights_are_equal_given_or_those_of_a_language_and_sum_to_one() -> None:
    assert merge_weights("merged", MergeConfig(), EXPERTS[:2], {}) == {"expert-00": 0.5, "expert-01": 0.5}
    given = MergeConfig(weights={"expert-02": 3.0, "expert-00": 1.0, "expert-01": 0.0})
    assert merge_weights("merged", given, EXPERTS, {}) == {"expert-00": 0.25, "expert-02": 0.75}
    of_german = merge_weights("merged_de", MergeConfig(language="de"), EXPERTS, SHARES)
    assert of_german == {"expert-00": 0.25, "expert-01": 0.75}


def test_unknown_experts_and_languages_are_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"merges.merged.weights.*expert-0.*expert-00"):
        merge_weights("merged", MergeConfig(weights={"expert-0": 1.0}), EXPERTS, {})
    with pytest.raises(ConfigError, match=r"merges.merged_fr.language.*fr.*de"):
        merge_weights("merged_fr", MergeConfig(language="fr"), EXPERTS, SHARES)


def test_a_merge_is_made_once_joins_the_ensemble_is_served_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [folder(tmp_path, number) for number in (1, 2)]
    store = imported(tmp_path, places)
    options = [f"--set=artifacts.root={tmp_path / 'root'}", "--set=run.name=imported"]
    chosen = "--set=merges.merged_most.weights.expert-01=1"
    assert main([*options, "--format=json"]) == 0 and main([*options, chosen, "--format=json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["merged"] == {"merged": {"expert-00": 0.5, "expert-01": 0.5}} and first["version"] == 2
    assert second["merged"] == {"merged_most": {"expert-01": 1.0}} and second["version"] == 3
    ensemble = load_ensemble(store, "imported")
    assert list(ensemble.singles) == ["merged", "merged_most"]
    assert not load_ensemble(store, "imported", version=1).singles
    rows = torch.tensor([[0, 5, 9]])
    own = load_model(places[1]).eval().logits(rows)
    assert torch.equal(ensemble.models["merged_most"].logits(rows), own)
    with served(ensemble) as client:
        assert post(client, prompt="12 January", max_tokens=2, model="merged").status_code == 200
    modified = {path: path.stat().st_mtime_ns for path in (tmp_path / "root/store").rglob("*") if path.is_file()}
    config = load_config("demo", overrides=[option.removeprefix("--set=") for option in options])
    assert merge_run(config, store)["version"] == 3
    assert modified == {path: path.stat().st_mtime_ns for path in modified}
    export_run(config, store)
    card = (tmp_path / "root/runs/imported/export/merged/README.md").read_text()
    assert (
        "The averaged experts" in card
        and '"kind": "merged"' in (tmp_path / "root/runs/imported/export/merged/lineage.json").read_text()
    )


def test_a_lost_expert_is_an_error_and_adds_no_version(tmp_path: Path) -> None:
    store = imported(tmp_path, [folder(tmp_path, 1), folder(tmp_path, 2)])
    run = store.run("imported")
    record = read_ensemble(run, "")
    lost = replace(record.experts[1], model="0" * 16)
    write_ensemble(run, replace(record, experts=(record.experts[0], lost)))
    config = load_config("demo", overrides=[f"artifacts.root={tmp_path / 'root'}", "run.name=imported"])
    with pytest.raises(MissingArtifact):
        merge_run(config, store)
    assert read_ensemble(run, "").version == 2
