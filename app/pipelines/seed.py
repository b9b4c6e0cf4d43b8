"""The seed: tokenizer first, then the model; copied from a Hugging Face folder or id, or trained on the mixture."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from app.artifacts.counts import ModelCounts, TokenizerCounts
from app.artifacts.digests import weights_digest
from app.artifacts.layout import FINAL_MODEL, TOKENIZER
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.corpora.shards import read_documents
from app.fleet.run_fleet import train_fleet
from app.lineage.inputs import seed_location
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.models.load import count_parameters, load_model, save_model
from app.pipelines.tokenize import make_tokens
from app.tokens.tokenizer import equal_text, load_tokenizer, train_tokenizer
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)


def make_seed(lineage: Lineage) -> Made:
    """Make tokenizer and seed unless they are there. Tokenizes the shards too: a trained seed is trained on tokens."""
    tasks = seed_training(lineage)
    if tasks:
        train_fleet(lineage.config, tasks, seed_cpus(lineage.config), stops=lineage.stops)
    elif not lineage.seed.is_complete:
        _copy_seed(lineage)
    return {"tokenizer": lineage.tokenizer.folder, "seed": lineage.seed.folder}


def seed_training(lineage: Lineage) -> list[ModelTask]:
    """Make tokenizer and tokens; returns the training of the seed, none where it is copied or there already."""
    _make_tokenizer(lineage)
    make_tokens(lineage)
    is_trained = lineage.config.seed.source == "trained"
    return [lineage.seed_task] if is_trained and not lineage.seed.is_complete else []


def seed_cpus(config: Config) -> float:
    """Cores of each worker of a seed: Ray is asked for them by worker, and as many as there may be share the seed's."""
    _, most = config.training.workers_per_expert
    return config.seed.cpus / most


def _make_tokenizer(lineage: Lineage) -> None:
    config, stage = lineage.config, lineage.tokenizer.folder
    if stage.is_complete:
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xelm-tokenizer-") as temporary:
        folder = Path(temporary) / TOKENIZER
        if config.seed.source == "pretrained":
            load_tokenizer(seed_location(config.seed.model), config.seed.revision or None).save(str(folder))
        else:
            texts = {lang: _texts(lineage.shards.finished(), lang) for lang in lineage.languages}
            sample = equal_text(texts, config.seed.tokenizer_sample_bytes)
            train_tokenizer(sample, config.seed.vocabulary_size, str(folder))
        # Read back, so that size and digest are those of what later stages load.
        tokenizer = load_tokenizer(str(folder))
        stage.upload(folder, TOKENIZER)
    counts = TokenizerCounts(tokenizer.vocab_size, tokenizer.digest)
    lineage.tokenizer.publish(asdict(counts), time.monotonic() - started)


def _texts(shards: StageFolder, lang: str) -> Iterator[str]:
    return (document["text"] for document in read_documents(shards, lang, "train"))


def _copy_seed(lineage: Lineage) -> None:
    started, seed = time.monotonic(), lineage.config.seed
    # Loaded and saved, not copied: what cannot be used fails here, and all models of a store have one format.
    model = load_model(seed_location(seed.model), seed.revision or None)
    with tempfile.TemporaryDirectory(prefix="xelm-seed-") as temporary:
        folder = Path(temporary) / FINAL_MODEL
        save_model(model, folder, f"# seed\n\nCopy of {seed.model} {seed.revision}\n")
        counts = ModelCounts("seed", count_parameters(model), weights_digest(folder))
        lineage.seed.folder.upload(folder, FINAL_MODEL)
    lineage.seed.publish(asdict(counts), time.monotonic() - started)
