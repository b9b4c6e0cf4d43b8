"""What each stage's key is made of: the config fields it reads and its parents' keys. Nothing here runs a stage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from app.artifacts.keys import stage_key
from app.artifacts.layout import Stage
from app.config.schema import Config
from app.core.records import JsonValue
from app.corpora.base import READING_VERSION, Corpus
from app.lineage.settings import source_weights

BUILTIN = "builtin:"
_SEED_FILE_SUFFIXES = (".json", ".safetensors", ".model", ".txt")


@dataclass(frozen=True)
class StageInputs:
    """A stage, what it is made from, and the key that follows."""

    stage: Stage
    fields: Mapping[str, JsonValue]
    parents: Mapping[str, str]

    @property
    def key(self) -> str:
        """Content address of the stage."""
        return stage_key(self.stage, self.fields, self.parents)


def shards_inputs(config: Config, corpus: Corpus) -> StageInputs:
    """Shards depend on the corpus alone."""
    fields: dict[str, JsonValue] = {
        "corpus": corpus.fingerprint(),
        "reading": READING_VERSION,
        "languages": sorted(config.corpus.languages),
        "columns": config.corpus.columns.model_dump(exclude={"source"}),
        "max_documents_per_file": config.corpus.max_documents_per_file,
        "max_line_bytes": config.corpus.max_line_bytes,
        "min_characters": config.corpus.min_characters,
        "validation_fraction": config.corpus.validation_fraction,
    }
    return StageInputs("shards", {**fields, **_screening_fields(config)}, {})


def _screening_fields(config: Config) -> dict[str, JsonValue]:
    """The steps that are on; nothing for those that are off, so that a corpus without them keeps its key."""
    corpus = config.corpus
    fields: dict[str, JsonValue] = {}
    if corpus.near_duplicates != "off":
        fields["near_duplicates"] = [corpus.near_duplicates, corpus.near_duplicate_threshold]
    if corpus.language_identification != "off":
        fields["language_identification"] = [corpus.language_identification, corpus.language_confidence]
    if sources := source_weights(config):
        fields["source_weights"] = {"column": corpus.columns.source, "weights": sources}
    return fields


def seed_location(model: str) -> str:
    """The folder of a ``builtin:`` seed; any other name is returned as it is."""
    if not model.startswith(BUILTIN):
        return model
    return str(resources.files("app.models") / f"{model.removeprefix(BUILTIN)}_seed")


def tokenizer_inputs(config: Config, shards_key: str) -> StageInputs:
    """A pretrained seed brings its tokenizer; a trained one's is learned from the shards."""
    if config.seed.source == "pretrained":
        return StageInputs("tokenizer", _pretrained(config), {})
    fields: dict[str, JsonValue] = {
        "vocabulary_size": config.seed.vocabulary_size,
        "tokenizer_sample_bytes": config.seed.tokenizer_sample_bytes,
    }
    return StageInputs("tokenizer", fields, {"shards": shards_key})


def tokens_inputs(shards_key: str, tokenizer_key: str) -> StageInputs:
    """Tokens do not depend on the allocation."""
    return StageInputs("tokens", {}, {"shards": shards_key, "tokenizer": tokenizer_key})


def seed_inputs(config: Config, tokens_key: str, mixture: Mapping[str, float] | None = None) -> StageInputs:
    """The seed: a copy of a pretrained model, or a model trained on the whole mixture."""
    if config.seed.source == "pretrained":
        return StageInputs("model", {"kind": "pretrained", **_pretrained(config)}, {})
    fields: dict[str, JsonValue] = {
        "kind": "seed",
        "seed": config.seed.model_dump(exclude={"source", "model", "revision", "cpus"}),
        "mixture": dict(mixture or {}),
        "optimisation": optimisation_fields(config),
        "random_seed": config.run.seed,
    }
    return StageInputs("model", fields, {"tokens": tokens_key})


def allocation_inputs(config: Config, languages: Sequence[str], shards_key: str | None) -> StageInputs:
    """A language-level allocation needs no corpus (``shards_key`` None); a document-level one depends on the shards."""
    fields: dict[str, JsonValue] = {
        "allocation": config.allocation.model_dump(),
        "languages": sorted(languages),
        "random_seed": config.run.seed,
    }
    return StageInputs("allocation", fields, {} if shards_key is None else {"shards": shards_key})


def optimisation_fields(config: Config) -> dict[str, JsonValue]:
    """The training settings that change a model's weights (not the resources it is given).

    The number of workers and what each holds are resources as cores are: the same rows are summed in another order.
    """
    left_out = {"budget_tokens", "budget_split", "checkpoint_every_steps", "keep_checkpoints"}
    left_out |= {"cpus_per_expert", "gpus_per_expert", "max_failures", "loss_chunk_tokens", "trackers"}
    left_out |= {"workers_per_expert", "parallelism"}
    return dict(config.training.model_dump(exclude=left_out))


def scores_inputs(config: Config, tokens_key: str, model_key: str) -> StageInputs:
    """Log-probabilities of one model on the validation text: shared by every ensemble it is part of."""
    fields: dict[str, JsonValue] = {
        "protocol": config.evaluation.protocol,
        "max_documents_per_language": config.evaluation.max_documents_per_language,
        "max_tokens_per_document": config.evaluation.max_tokens_per_document,
        "sequence_length": config.training.sequence_length,
    }
    return StageInputs("scores", fields, {"tokens": tokens_key, "model": model_key})


def evaluation_inputs(config: Config, scores: Mapping[str, str], allocation_key: str) -> StageInputs:
    """One ensemble against dense and seed, from the scores of its models."""
    fields: dict[str, JsonValue] = {
        "weighting": config.evaluation.weighting,
        "temperature": config.evaluation.temperature,
        "top_m": config.evaluation.top_m,
        "bootstrap_samples": config.evaluation.bootstrap_samples,
        "random_seed": config.run.seed,
    }
    return StageInputs("evaluation", fields, {**scores, "allocation": allocation_key})


def _pretrained(config: Config) -> dict[str, JsonValue]:
    folder = Path(seed_location(config.seed.model))
    if not folder.is_dir():
        return {"model": config.seed.model, "revision": config.seed.revision}
    files = sorted(file for file in folder.iterdir() if file.suffix in _SEED_FILE_SUFFIXES)
    digests: dict[str, JsonValue] = {file.name: _digest(file) for file in files}
    return {"files": digests}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
