from __future__ import annotations

import json
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import StageFolder, Store
from app.core.errors import ConfigError, LeaseLost, MissingArtifact, Preempted, StaleArtifact
from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.load import count_parameters, load_model
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from app.training import loop, model_task
from app.training.hooks import StepMetrics, StopRequest
from app.training.model_task import ModelTask, run_model_task, task_blocks, task_documents
from tests.support.tiny_training import SPEC, write_assignment, write_tokens

TEXTS = {
    "de": [f"das ist Satz {i} und noch einer" for i in range(12)],
    "en": [f"this is sentence {i} and one more" for i in range(12)],
}
VOCABULARY = 330


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([text for texts in TEXTS.values() for text in texts], VOCABULARY, str(folder))
    return load_tokenizer(str(folder))


@pytest.fixture
def task(tokenizer: Tokenizer, tmp_path: Path) -> ModelTask:
    store = Store(str(tmp_path))
    write_tokens(store, "t", tokenizer, TEXTS)
    return ModelTask(
        name="expert-0",
        store=store,
        key="m",
        fields={"kind": "expert"},
        parents={"tokens": "t"},
        tokens="t",
        parent=None,
        shape=ModelShape("xglm", tokenizer.vocab_size, 16, 1, 2, 24, 8),
        weights={"de": 0.75, "en": 0.25},
        spec=replace(SPEC, key="m", checkpoint_every_steps=2),
        keep_checkpoints=2,
    )


def final_model(task: ModelTask) -> CausalLM:
    return load_model(str(task.stage.local("final")))


def stopped_after_a_step(task: ModelTask) -> None:
    stop = StopRequest()
    stop.ask("test")
    with pytest.raises(Preempted):
        run_model_task(task, stop)


def test_a_task_trains_and_publishes_a_complete_stage(task: ModelTask) -> None:
    counts = run_model_task(task)
    assert task.stage.is_complete
    manifest = task.stage.manifest()
    assert manifest.counts == counts and manifest.parents == {"tokens": "t"} and manifest.fields == {"kind": "expert"}
    assert (counts["steps"], counts["tokens_seen"], counts["name"]) == (8, 256, "expert-0")
    assert counts["parameters"] == count_parameters(final_model(task))
    assert not [name for name in task.stage.names() if name.startswith("step-")]
    lines = [json.loads(line) for line in task.stage.read("metrics.jsonl").splitlines()]
    assert lines[-1]["step"] == 8 and lines[-1]["loss"] == counts["final_loss"]
    assert task.stage.names("tensorboard")
    assert b"key `m`" in task.stage.read("final/README.md")


def test_each_language_is_seen_exactly_as_often_as_its_weight_says(task: ModelTask) -> None:
    counts = run_model_task(task)
    assert counts["exposure_tokens"] == {"de": 192, "en": 64}
    blocks = task_blocks(task)
    languages = blocks.languages(0, len(blocks))
    assert (languages.count("de") * 8, languages.count("en") * 8) == (192, 64)


def test_the_published_model_is_one_of_the_library(task: ModelTask) -> None:
    run_model_task(task)
    library = AutoModelForCausalLM.from_pretrained(task.stage.local("final")).eval()
    rows = torch.from_numpy(task_blocks(task).rows(0, 2)[:, :-1])
    torch.testing.assert_close(library(input_ids=rows).logits, final_model(task).logits(rows), rtol=1e-5, atol=1e-5)


def test_a_finished_model_is_returned_without_training(task: ModelTask, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = run_model_task(task)

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(model_task, "train", refuse)
    task.stage.write("step-00000002/manifest.json", b"{}")  # a kill came before checkpoints were removed
    assert run_model_task(task) == counts
    assert not task.stage.exists("step-00000002")


def test_an_interrupted_task_ends_with_the_weights_of_one_that_was_not(task: ModelTask) -> None:
    whole = replace(task, key="whole", spec=replace(task.spec, key="whole"))
    run_model_task(whole)
    for _ in range(3):
        stopped_after_a_step(task)
        assert not task.stage.is_complete
    assert [name for name in task.stage.names() if name.startswith("step-")] == ["step-00000002", "step-00000003"]
    run_model_task(task)
    for mine, theirs in zip(final_model(task).parameters(), final_model(whole).parameters(), strict=True):
        assert torch.equal(mine, theirs)
    steps = [json.loads(line)["step"] for line in task.stage.read("metrics.jsonl").splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 8


def test_training_seconds_are_those_of_all_attempts(task: ModelTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_LOGGED_STEPS", 0.0)
    attempts = []
    for _ in range(2):
        stopped_after_a_step(task)
        attempts.append(json.loads(task.stage.read("metrics.jsonl").splitlines()[-1])["seconds"])
    counts = run_model_task(task)
    attempts.append(float(str(counts["attempt_seconds"])))
    assert counts["training_seconds"] == pytest.approx(sum(attempts)) and min(attempts) > 0


def test_a_task_starts_from_its_parents_weights(task: ModelTask) -> None:
    run_model_task(task)
    still = replace(task.spec, key="child", learning_rate=0.0)
    child = replace(task, key="child", parent="m", shape=None, spec=still)
    run_model_task(child)
    for mine, theirs in zip(final_model(child).parameters(), final_model(task).parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_parent_with_fewer_ids_than_the_tokenizer_is_refused(task: ModelTask) -> None:
    assert task.shape is not None
    small = replace(task.shape, vocab_size=task.shape.vocab_size - 1)
    with pytest.raises(ConfigError, match=rf"{task.shape.vocab_size} ids .* expert-0 .* only {small.vocab_size}"):
        run_model_task(replace(task, shape=small))


def test_a_remote_model_keeps_the_metrics_of_earlier_attempts(
    task: ModelTask, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_LOGGED_STEPS", 0.0)
    store = Store(f"memory://{tmp_path}", str(tmp_path / "cache"))
    write_tokens(store, "t", tokenizer, TEXTS)
    remote = replace(task, store=store)
    stopped_after_a_step(remote)
    first = set(remote.stage.names("tensorboard"))
    time.sleep(1.1)  # its files are named by the second
    run_model_task(remote)
    # Each attempt has a file of events; what the first one logged stays.
    assert first and first < set(remote.stage.names("tensorboard"))
    steps = [json.loads(line)["step"] for line in remote.stage.read("metrics.jsonl").splitlines()]
    assert steps == list(range(1, 9))


class Robber:
    """Another attempt takes over after the first logged step, and logs."""

    def __init__(self, stage: StageFolder) -> None:
        self._stage = stage

    def start(self, step: int) -> None:
        """Nothing yet."""

    def step(self, metrics: StepMetrics) -> None:
        ModelCheckpoints(self._stage, 1).claim()
        self._stage.write("metrics.jsonl", b"of the other attempt")

    def close(self) -> None:
        """Nothing is held."""


def test_an_orphan_leaves_the_log_of_the_attempt_that_took_over(
    task: ModelTask, tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(f"memory://{tmp_path}", str(tmp_path / "cache"))
    write_tokens(store, "t", tokenizer, TEXTS)
    remote = replace(task, store=store)
    with pytest.raises(LeaseLost):
        run_model_task(remote, more=[Robber(remote.stage)])
    assert remote.stage.read("metrics.jsonl") == b"of the other attempt"
    assert "the end of its log is lost" in caplog.text


def test_an_unfinished_parent_is_named(task: ModelTask) -> None:
    with pytest.raises(MissingArtifact, match="model nobody"):
        run_model_task(replace(task, parent="nobody", shape=None))


def test_a_task_without_an_allocation_uses_every_document(task: ModelTask) -> None:
    corpus = TokenCorpus.open(task.store.stage("tokens", "t"))
    assert task_documents(task, corpus) is None
    assert task_blocks(task).tokens()["de"] == corpus.counts.tokens("de", "train")


def test_a_task_with_an_allocation_uses_only_its_experts_documents(task: ModelTask) -> None:
    for number, lang in enumerate(TEXTS):
        write_assignment(task.store, lang, number, [0, 1] * 6)
    expert = replace(task, allocation="a", expert=1)
    corpus = TokenCorpus.open(task.store.stage("tokens", "t"))
    documents = {lang: [document.ids for document in corpus.documents(lang, "train")] for lang in TEXTS}
    blocks = task_blocks(expert)
    assert blocks.tokens() == {lang: sum(len(ids) for ids in found[1::2]) for lang, found in documents.items()}
    seen = set(np.unique(blocks.rows(0, len(blocks))).tolist())
    mine = {int(token) for found in documents.values() for ids in found[1::2] for token in ids}
    others = {int(token) for found in documents.values() for ids in found[::2] for token in ids}
    assert seen <= mine and others - mine and not seen & (others - mine)


def test_an_allocation_of_other_documents_is_refused(task: ModelTask) -> None:
    write_assignment(task.store, "de", 1, [0] * 12)
    write_assignment(task.store, "en", 1, [0] * 12)
    with pytest.raises(StaleArtifact, match=r"documents/de/part-00000-000\.parquet does not list"):
        run_model_task(replace(task, allocation="a", expert=0))


def test_a_task_is_small_and_picklable(task: ModelTask) -> None:
    data = pickle.dumps(task)
    assert pickle.loads(data) == task and len(data) < 4096
