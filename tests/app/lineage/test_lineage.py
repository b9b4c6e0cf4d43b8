from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.artifacts import digests
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.corpora.almanac import AlmanacCorpus
from app.lineage.inputs import seed_location
from app.lineage.lineage import Lineage
from app.pipelines.evaluate import make_evaluation
from tests.support.tiny import TINY

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

Run = tuple[Config, Store]


def test_a_builtin_seed_is_known_by_its_files_not_its_place(tmp_path: Path) -> None:
    fields = Lineage(load_config("demo"), Store(str(tmp_path), str(tmp_path / "cache"))).seed.inputs.fields
    assert isinstance(fields["files"], dict) and "model.safetensors" in fields["files"] and "model" not in fields


def test_what_is_missing_names_the_command_that_makes_it(tiny_run: Run, tmp_path: Path) -> None:
    config, store = tiny_run
    empty = Lineage(config, Store(str(tmp_path)))
    for ask in ("languages", "token_corpus", "baselines", "experts"):
        with pytest.raises(MissingArtifact, match=r"run python -m jobs\.shard with this config"):
            getattr(empty, ask)
    shutil.copytree(store.root, tmp_path / "copy")
    lineage = Lineage(config, Store(str(tmp_path / "copy")))
    cures = {"dense": "baseline", "expert-01": "train"}
    for name, job in cures.items():
        lineage.store.folder("").remove(f"store/model/{lineage.models()[name].key}")
        with pytest.raises(MissingArtifact, match=rf"run python -m jobs\.{job} with this config"):
            lineage.models()[name].manifest()
    lineage.store.folder("").remove(f"store/model/{lineage.seed.key}")
    with pytest.raises(MissingArtifact, match=r"run python -m jobs\.seed with this config"):
        lineage.seed.finished()


def test_an_evaluation_opens_the_corpus_once(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    config, store = tiny_run
    opened, listing = list[object](), AlmanacCorpus.fingerprint
    monkeypatch.setattr(AlmanacCorpus, "fingerprint", lambda corpus: (opened.append(corpus), listing(corpus))[1])
    make_evaluation(Lineage(config, store))
    assert len(opened) == 1


def test_each_file_of_a_pretrained_seed_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, reading = list[Path](), digests.file_digest
    monkeypatch.setattr(digests, "file_digest", lambda file: (hashed.append(file), reading(file))[1])
    for _ in range(2):
        lineage = Lineage(load_config("demo"), Store(str(tmp_path), str(tmp_path / "cache")))
        assert lineage.seed.key and lineage.tokenizer.key
    assert len(hashed) == len(set(hashed)) > 1


def test_further_dense_models_are_tasks_of_their_own_with_equal_rows(tiny_run: Run) -> None:
    config, store = tiny_run
    more = [*TINY, f"artifacts.root={store.root}", "baselines.dense_steps.equal_steps=true"]
    more += ["baselines.dense_rate.learning_rate=0.02"]
    plain, steps, rate = Lineage(load_config("demo", overrides=more), store).baselines
    assert [plain.name, steps.name, rate.name] == ["dense", "dense_steps", "dense_rate"]
    assert plain.key == Lineage(config, store).baselines[0].key
    assert len({plain.key, steps.key, rate.key}) == 3
    k = config.allocation.k
    assert steps.spec.tokens_per_step == k * plain.spec.tokens_per_step and rate.spec.learning_rate == 0.02
    assert steps.spec.budget_tokens == plain.spec.budget_tokens and steps.weights == plain.weights
    experts = Lineage(config, store).experts
    assert steps.spec.num_steps == pytest.approx(sum(task.spec.num_steps for task in experts) / k, abs=1)


def test_every_model_branches_from_the_seed(tiny_run: Run) -> None:
    lineage = Lineage(*tiny_run)
    assert Path(seed_location(lineage.config.seed.model)).is_dir()
    for task in (*lineage.baselines, *lineage.experts):
        assert task.parent == lineage.seed.key == task.parents["parent"]
