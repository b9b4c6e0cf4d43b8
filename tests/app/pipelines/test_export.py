from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.lineage.lineage import Lineage
from app.models.load import load_model
from app.pipelines.export import export_run

Run = tuple[Config, Store]


@pytest.fixture(scope="module")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export, moved to another place: nothing in it may point back."""
    config, store = tiny_run
    export_run(config, store)
    moved = tmp_path_factory.mktemp("moved") / "ensemble"
    shutil.copytree(Path(store.run("tiny").uri) / "export", moved)
    return moved


@pytest.mark.ray
def test_every_model_loads_with_from_pretrained_alone(exported: Path, tiny_run: Run) -> None:
    rows = torch.tensor([[0, 5, 9, 11]])
    for task in Lineage(*tiny_run).experts:
        alone = AutoModelForCausalLM.from_pretrained(exported / task.name)
        below = AutoModelForCausalLM.from_pretrained(exported, subfolder=task.name)
        ours = load_model(str(task.stage.local("final"))).eval()
        for library in (alone, below):
            torch.testing.assert_close(library(input_ids=rows).logits, ours.logits(rows), rtol=1e-5, atol=1e-5)
    for place in (exported, exported / "dense", exported / "expert-00"):
        assert AutoTokenizer.from_pretrained(place)("guten Tag")["input_ids"]


@pytest.mark.ray
def test_the_lineage_names_the_seed_and_the_digests_are_those_of_the_files(exported: Path) -> None:
    lineage = json.loads((exported / "expert-01" / "lineage.json").read_text())
    for folder, generation in (("expert-01", lineage), ("seed", lineage["parents"][-1])):
        weights = (exported / folder / "model.safetensors").read_bytes()
        assert generation["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert [parent["name"] for parent in lineage["parents"]] == ["seed"] and lineage["round"] == 0
    assert sum(lineage["exposure_tokens"].values()) == lineage["tokens_seen"]


@pytest.mark.ray
def test_cards_have_a_front_matter_that_parses_and_the_evaluations_figures(exported: Path, tiny_run: Run) -> None:
    _, store = tiny_run
    _, front, body = (exported / "expert-00" / "README.md").read_text().split("---\n", 2)
    header = yaml.safe_load(front)
    table = store.run("tiny").read_json("evaluation/summary.json")["per_language"]
    assert isinstance(table, dict)
    assert header["library_name"] == "transformers" and header["language"]
    for lang in header["language"]:
        row = table[lang]
        assert isinstance(row, dict) and f"{row['expert-00']['perplexity']:.2f}" in body  # type: ignore[index, call-overload]
    assert "2 experts" in (exported / "README.md").read_text()


@pytest.mark.ray
def test_the_exported_ensemble_points_to_folders_beside_it(exported: Path) -> None:
    ensemble = json.loads((exported / "ensemble.json").read_text())
    assert [(exported / entry["name"] / "config.json").exists() for entry in ensemble["experts"]] == [True, True]
    assert (exported / "allocator" / "allocator.json").exists()
    assert "/" not in "".join(entry["name"] for entry in ensemble["experts"])


def test_a_run_that_was_not_evaluated_names_the_job(tmp_path: Path) -> None:
    config = load_config("demo", overrides=[f"artifacts.root={tmp_path}"])
    with pytest.raises(MissingArtifact, match=r"jobs\.evaluate"):
        export_run(config, Store(str(tmp_path)))
