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
from app.corpora.shards import read_documents
from app.fleet.run_fleet import train_fleet
from app.lineage.inputs import seed_location
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.models.load import count_parameters, load_model, save_model
from app.pipelines.tokenize import make_tokens
from app.tokens.tokenizer import equal_text, load_tokenizer, train_tokenizer

log = logging.getLogger(__name__)


def make_seed(lineage: Lineage) -> Made:
    """Make tokenizer and seed unless they are there. Tokenizes the shards too: a trained seed is trained on tokens."""
    _make_tokenizer(lineage)
    make_tokens(lineage)
    config, stage = lineage.config, lineage.seed.folder
    if not stage.is_complete:
        if config.seed.source == "pretrained":
            _copy_seed(lineage)
        else:
            # Ray is asked for cores by worker; those of the seed are shared by as many as there may be.
            _, most = config.training.workers_per_expert
            train_fleet(config, [lineage.seed_task], config.seed.cpus / most)
    return {"tokenizer": lineage.tokenizer.folder, "seed": stage}


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
