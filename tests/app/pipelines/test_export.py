from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import FloatArray
from app.ensemble.mixing import mix_log_probs
from app.ensemble.routing import document_weights
from app.lineage.inputs import seed_location
from app.lineage.lineage import Lineage
from app.models.load import load_model, save_model
from app.pipelines.export import export_run
from app.pipelines.import_experts import import_experts
from app.tokens.tokenizer import load_tokenizer
from serve.loading import LoadedEnsemble, load_ensemble
from tests.support.serving import post, served

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


@pytest.fixture(scope="module", params=["de={}", "{}"], ids=["told", "not told"])
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoadedEnsemble]:
    """An export of three models that differ, and the same ensemble as it is served."""
    root, seed = tmp_path_factory.mktemp("imported"), seed_location("builtin:demo")
    places = []
    for number, lang in enumerate(("de", "en", "fr")):
        model, generator = load_model(seed), torch.Generator().manual_seed(number)
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.02 * torch.randn(weight.shape, generator=generator)
        save_model(model, root / lang, "# card")
        load_tokenizer(seed).save(str(root / lang))
        places.append(request.param.replace("de", lang).format(root / lang))
    given = [f"artifacts.root={root / 'store'}", "run.name=tiny", f"imported.experts={','.join(places)}"]
    config, store = load_config("demo", overrides=given), Store(str(root / "store"))
    import_experts(Lineage(config, store))
    export_run(config, store)
    moved = root / "moved"
    shutil.copytree(Path(store.run("tiny").uri) / "export", moved)
    return moved, load_ensemble(store, "tiny")


TEXT = "12 January 2019, Tuesday, 3 kilometres, 14 euros; Montag, 7. Mai " * 2
LANGUAGES = (None, "en")


def run_card(folder: Path) -> tuple[str, list[FloatArray]]:
    """Run the program of the ensemble's card as it stands, in its folder and without this project.

    Returns what it prints, and the probabilities of TEXT without and with its language.
    """
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in block.splitlines() if line]) <= 10
    after = [
        "import numpy, sys",
        "assert 'app' not in sys.modules",
        f"ids = ensemble.tokenizer({TEXT!r})['input_ids']",
        f"numpy.save('found.npy', [ensemble.log_probs(ids, language).exp() for language in {LANGUAGES!r}])",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join([block, *after])], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, list(np.load(folder / "found.npy"))


def test_the_cards_program_gives_the_probabilities_and_the_text_of_the_product(
    imported: tuple[Path, LoadedEnsemble],
) -> None:
    folder, ours = imported
    printed, found = run_card(folder)
    rows = torch.tensor([[ours.tokenizer.start_id, *ours.tokenizer.encode_batch([TEXT])[0].tolist()]])
    with torch.no_grad():
        experts = [ours.models[name] for name in ours.allocator.experts]
        each = np.stack([expert.logits(rows)[0].double().log_softmax(-1).numpy() for expert in experts], axis=-1)
    targets = rows[0, 1:, None, None].numpy()
    observed = np.vstack([np.take_along_axis(each[:-1], targets, 1)[:, 0], np.zeros((1, 3))])
    for lang, theirs in zip(LANGUAGES, found, strict=True):
        weights = document_weights(replace(ours.weighting, name="posterior"), [len(observed)], observed).weights
        if lang is not None and ours.allocator.unit == "language":
            weights = np.tile([0.0, 1.0, 0.0], (len(observed), 1))
        mixed = np.exp(mix_log_probs(each, weights[:, None, :]))
        assert theirs.shape == mixed.shape and len(mixed) > 64
        np.testing.assert_allclose(theirs, mixed, atol=1e-5)
    with served(ours) as client:
        said = post(client, prompt="12 January", max_tokens=12, temperature=0).json()["choices"][0]["text"]
    assert printed.rstrip("\n").partition("12 January")[2] == said
