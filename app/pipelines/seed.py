"""The seed: tokenizer first, then the model; copied from a Hugging Face folder or id, or trained on the mixture."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.artifacts.layout import FINAL_MODEL, TOKENIZER
from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.records import JsonObject
from app.corpora.shards import read_documents
from app.fleet.run_fleet import train_fleet
from app.lineage.inputs import seed_inputs, seed_location, tokenizer_inputs
from app.lineage.parents import find_shards, languages_of
from app.lineage.runs import Made
from app.lineage.settings import seed_shape, training_spec
from app.lineage.tasks import mixture_weights, seed_stage
from app.models.load import count_parameters, load_model, save_model
from app.pipelines.tokenize import make_tokens
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import equal_text, load_tokenizer, train_tokenizer
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)


def make_seed(config: Config, store: Store) -> Made:
    """Make tokenizer and seed unless they are there. Tokenizes the shards too: a trained seed is trained on tokens."""
    tokenizer = _make_tokenizer(config, store)
    tokens = make_tokens(config, store)["tokens"]
    stage = seed_stage(config, store)
    if not stage.is_complete:
        if config.seed.source == "pretrained":
            _copy_seed(config, stage)
        else:
            _, most = config.training.workers_per_expert
            train_fleet(config, [_seed_task(config, store, tokenizer, tokens)], config.seed.cpus / most)
    return {"tokenizer": tokenizer, "seed": stage}


def _make_tokenizer(config: Config, store: Store) -> StageFolder:
    shards = find_shards(config, store)
    inputs = tokenizer_inputs(config, shards.key)
    stage = store.stage("tokenizer", inputs.key)
    if stage.is_complete:
        return stage
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xelm-tokenizer-") as temporary:
        folder = Path(temporary) / TOKENIZER
        if config.seed.source == "pretrained":
            load_tokenizer(seed_location(config.seed.model), config.seed.revision or None).save(str(folder))
        else:
            texts = {lang: _texts(shards, lang) for lang in languages_of(shards)}
            sample = equal_text(texts, config.seed.tokenizer_sample_bytes)
            train_tokenizer(sample, config.seed.vocabulary_size, str(folder))
        tokenizer = load_tokenizer(str(folder))
        stage.upload(folder, TOKENIZER)
    counts = {"vocabulary_size": tokenizer.vocab_size, "digest": tokenizer.digest}
    stage.publish(Manifest("tokenizer", inputs.key, inputs.fields, inputs.parents, counts, time.monotonic() - started))
    return stage


def _texts(shards: StageFolder, lang: str) -> Iterator[str]:
    return (document["text"] for document in read_documents(shards, lang, "train"))


def _copy_seed(config: Config, stage: StageFolder) -> None:
    started = time.monotonic()
    model = load_model(seed_location(config.seed.model), config.seed.revision or None)
    with tempfile.TemporaryDirectory(prefix="xelm-seed-") as temporary:
        folder = Path(temporary) / FINAL_MODEL
        save_model(model, folder, f"# seed\n\nCopy of {config.seed.model} {config.seed.revision}\n")
        stage.upload(folder, FINAL_MODEL)
    inputs = seed_inputs(config, "")
    counts: JsonObject = {"name": "seed", "parameters": count_parameters(model)}
    stage.publish(Manifest("model", stage.key, inputs.fields, inputs.parents, counts, time.monotonic() - started))


def _seed_task(config: Config, store: Store, tokenizer: StageFolder, tokens: StageFolder) -> ModelTask:
    mixture = mixture_weights(config, TokenCorpus.open(str(tokens.local())))
    inputs = seed_inputs(config, tokens.key, mixture)
    vocabulary = int(str(tokenizer.manifest().counts["vocabulary_size"]))
    return ModelTask(
        name="seed",
        store=store,
        key=inputs.key,
        fields=inputs.fields,
        parents=inputs.parents,
        tokens=tokens.key,
        parent=None,
        shape=seed_shape(config, vocabulary),
        weights=mixture,
        spec=training_spec(config, inputs.key, config.seed.budget_tokens, config.seed.learning_rate),
        keep_checkpoints=config.training.keep_checkpoints,
        run=config.run.name,
        trackers=config.training.trackers,
    )
