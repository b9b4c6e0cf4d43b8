"""What each stage's key is made of: the config fields it reads and its parents' keys. Nothing here runs a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from app.artifacts.keys import stage_key
from app.artifacts.layout import Stage
from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.config.training import BaselineConfig
from app.core.records import JsonValue
from app.corpora.base import READING_VERSION, Corpus
from app.corpora.enough import MOST_GROWTH
from app.evaluation.scores import BLOCK_TOKENS
from app.lineage.settings import language_quality, source_weights, weighting_settings

BUILTIN = "builtin:"
SEED_FILE_SUFFIXES = (".json", ".safetensors", ".model", ".txt")
SHARD, SEED, TOKENIZE, ALLOCATE, BASELINE, TRAIN, EVALUATE, ADAPT, CROSS_LINGUAL = (
    f"python -m jobs.{job}"
    for job in ("shard", "seed", "tokenize", "allocate", "baseline", "train", "evaluate", "adapt", "cross_lingual")
)


@dataclass(frozen=True)
class StageInputs:
    """A stage, what it is made from, the key that follows, and the command that makes it."""

    stage: Stage
    fields: Mapping[str, JsonValue]
    parents: Mapping[str, str]
    made_by: str

    @property
    def key(self) -> str:
        """Content address of the stage."""
        return stage_key(self.stage, self.fields, self.parents)


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a run, made or not: what it is made from and where it is or will be."""

    inputs: StageInputs
    folder: StageFolder

    @property
    def key(self) -> str:
        """Content address of the stage."""
        return self.folder.key

    @property
    def is_complete(self) -> bool:
        """Whether it has been made."""
        return self.folder.is_complete

    def finished(self) -> StageFolder:
        """The folder of a stage that must be there. Raises MissingArtifact naming the command, and StaleArtifact."""
        self.folder.manifest()
        return self.folder

    def publish(self, counts: Mapping[str, JsonValue], seconds: float) -> None:
        """Declare the stage complete. seconds: what it took."""
        inputs = self.inputs
        self.folder.publish(Manifest(inputs.stage, self.key, inputs.fields, inputs.parents, counts, seconds))


def planned(inputs: StageInputs, store: Store) -> PlannedStage:
    """The stage of these inputs in this store."""
    return PlannedStage(inputs, store.stage(inputs.stage, inputs.key, inputs.made_by))


def shards_inputs(config: Config, corpus: Corpus) -> StageInputs:
    """Shards depend on the corpus alone."""
    fields: dict[str, JsonValue] = {
        "corpus": corpus.fingerprint(),
        # Two versions of the code may read other documents from the same files with the same settings.
        "reading": READING_VERSION,
        "languages": sorted(config.corpus.languages),
        # The source column is read only to draw documents by it; `source_weights` names it then.
        "columns": config.corpus.columns.model_dump(exclude={"source"}),
        "max_documents_per_file": config.corpus.max_documents_per_file,
        "max_line_bytes": config.corpus.max_line_bytes,
        "min_characters": config.corpus.min_characters,
        "validation_fraction": config.corpus.validation_fraction,
    }
    return StageInputs("shards", {**fields, **_screening_fields(config)}, {}, SHARD)


def _screening_fields(config: Config) -> dict[str, JsonValue]:
    """The steps that are on; nothing for those that are off, so that a corpus without them keeps its key."""
    corpus = config.corpus
    fields: dict[str, JsonValue] = {}
    if corpus.near_duplicates != "off":
        fields["near_duplicates"] = [corpus.near_duplicates, corpus.near_duplicate_threshold]
    if corpus.language_identification != "off":
        fields["language_identification"] = [corpus.language_identification, corpus.language_confidence]
    if corpus.enough_for_budget:
        # All that decides how many files are read, the planner's guess of a token's bytes among it.
        per_token, factors = config.planning.text_bytes_per_token, dict(language_quality(config))
        budget, epochs = config.training.budget_tokens, corpus.mixture_max_epochs
        fields["enough"] = [budget, epochs, per_token, factors, MOST_GROWTH]
    if sources := source_weights(config):
        fields["source_weights"] = {"column": corpus.columns.source, "weights": sources}
    return fields


def seed_location(model: str) -> str:
    """The folder of a ``builtin:`` seed, or of a place in a home (``~/x``); any other name is returned as it is."""
    if not model.startswith(BUILTIN):
        return str(Path(model).expanduser()) if model.startswith("~") else model
    return str(resources.files("app.models") / f"{model.removeprefix(BUILTIN)}_seed")


def tokenizer_inputs(config: Config, seed_files: Mapping[str, JsonValue], shards_key: str) -> StageInputs:
    """A pretrained seed brings its tokenizer; a trained one's is learned from the shards.

    seed_files: what identifies a pretrained seed (``Lineage.seed_identity``); empty for a trained one.
    """
    if config.seed.source == "pretrained":
        # No parent: another corpus leaves a pretrained seed's tokenizer as it is.
        return StageInputs("tokenizer", seed_files, {}, SEED)
    fields: dict[str, JsonValue] = {
        "vocabulary_size": config.seed.vocabulary_size,
        "tokenizer_sample_bytes": config.seed.tokenizer_sample_bytes,
    }
    return StageInputs("tokenizer", fields, {"shards": shards_key}, SEED)


def tokens_inputs(shards_key: str, tokenizer_key: str) -> StageInputs:
    """Tokens do not depend on the allocation."""
    return StageInputs("tokens", {}, {"shards": shards_key, "tokenizer": tokenizer_key}, TOKENIZE)


def pretrained_seed_inputs(seed_files: Mapping[str, JsonValue]) -> StageInputs:
    """A copy of a pretrained model; seed_files as for ``tokenizer_inputs``."""
    return StageInputs("model", {"kind": "pretrained", **seed_files}, {}, SEED)


def trained_seed_inputs(config: Config, tokens_key: str, mixture: Mapping[str, float]) -> StageInputs:
    """A model trained on the whole mixture."""
    fields: dict[str, JsonValue] = {
        "kind": "seed",
        # Left out: cores are a resource, tokens_per_step is below, the others say where a pretrained seed comes from.
        "seed": config.seed.model_dump(exclude={"source", "model", "revision", "cpus", "tokens_per_step"}),
        "mixture": dict(mixture),
        "optimisation": {
            **without_rate(optimisation_fields(config)),
            "tokens_per_step": seed_tokens_per_step(config),
        },
        "random_seed": config.run.seed,
    }
    return StageInputs("model", fields, {"tokens": tokens_key}, SEED)


def probe_inputs(config: Config, probe: str, languages: Sequence[str], parents: Mapping[str, str]) -> StageInputs:
    """What a probe of the seed measures; parents: keys of ``tokens`` and ``seed``."""
    fields: dict[str, JsonValue] = {
        "probe": probe,
        "settings": config.probes.model_dump(),
        "languages": list(languages),
        "optimisation": without_rate(optimisation_fields(config)),
        "random_seed": config.run.seed,
    }
    return StageInputs("probe", fields, parents, ALLOCATE)


def allocation_inputs(config: Config, languages: Sequence[str], evidence: Mapping[str, str]) -> StageInputs:
    """evidence: the stages that the strategy looks at, by name; a language-level allocation needs none."""
    fields: dict[str, JsonValue] = {
        "allocation": config.allocation.model_dump(),
        "languages": sorted(languages),
        "random_seed": config.run.seed,
    }
    return StageInputs("allocation", fields, evidence, ALLOCATE)


def optimisation_fields(config: Config, baseline: BaselineConfig | None = None) -> dict[str, JsonValue]:
    """The training settings that change a model's weights (not the resources it is given).

    The number of workers and what each holds are resources as cores are: the same rows are summed in another order.
    baseline: what a dense model of its own changes of them.
    """
    # Each model's own budget is a field of its key. The others set saving, memory, machines and logging.
    left_out = {"budget_tokens", "budget_split", "checkpoint_every_steps", "keep_checkpoints"}
    left_out |= {"cpus_per_expert", "gpus_per_expert", "max_failures", "loss_chunk_tokens", "trackers"}
    left_out |= {"workers_per_expert", "parallelism"}
    fields: dict[str, JsonValue] = dict(config.training.model_dump(exclude=left_out))
    # Without settings of its own a baseline has the very fields of an expert: so dense and the one expert of k = 1 are
    # one model, trained once.
    if baseline is not None:
        fields |= {"tokens_per_step": baseline_tokens_per_step(config, baseline)}
        fields |= {"learning_rate": baseline.learning_rate or config.training.learning_rate}
    return fields


def without_rate(optimisation: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """For what has a learning rate of its own (the seed, probes): the experts' may change and it stays the same."""
    return {name: value for name, value in optimisation.items() if name != "learning_rate"}


def seed_tokens_per_step(config: Config) -> int:
    """Tokens of one optimizer step of a trained seed: its own, or an expert's."""
    return config.seed.tokens_per_step or config.training.tokens_per_step


def baseline_tokens_per_step(config: Config, baseline: BaselineConfig) -> int:
    """Tokens of one optimizer step of a dense model: k times an expert's where it shall take as many steps."""
    return config.training.tokens_per_step * (config.allocation.k if baseline.equal_steps else 1)


def scores_inputs(config: Config, tokens_key: str, model_key: str) -> StageInputs:
    """Log-probabilities of one model on the validation text: shared by every ensemble it is part of."""
    fields: dict[str, JsonValue] = {
        "protocol": config.evaluation.protocol,
        "max_documents_per_language": config.evaluation.max_documents_per_language,
        "max_tokens_per_document": config.evaluation.max_tokens_per_document,
        "sequence_length": config.training.sequence_length,
        "precision": config.training.precision,
        # A block that is there is not scored again: of another size it must be another stage.
        "block_tokens": BLOCK_TOKENS,
    }
    return StageInputs("scores", fields, {"tokens": tokens_key, "model": model_key}, EVALUATE)


def evaluation_inputs(config: Config, scores: Mapping[str, str], allocation_key: str) -> StageInputs:
    """One ensemble against dense and seed, from the scores of its models."""
    fields: dict[str, JsonValue] = {
        "weighting": asdict(weighting_settings(config)),
        "prior": config.evaluation.prior,
        "bootstrap_samples": config.evaluation.bootstrap_samples,
        "random_seed": config.run.seed,
    }
    return StageInputs("evaluation", fields, {**scores, "allocation": allocation_key}, EVALUATE)


def samples_inputs(config: Config, models: Mapping[str, str], tokens_key: str, allocation_key: str) -> StageInputs:
    """Text that dense, the experts and their mixture write; models: keys by name."""
    fields: dict[str, JsonValue] = {
        "weighting": asdict(weighting_settings(config)),
        "tokens": config.evaluation.sample_tokens,
        "languages": config.evaluation.sample_languages,
    }
    return StageInputs("samples", fields, {**models, "tokens": tokens_key, "allocation": allocation_key}, EVALUATE)


def confusion_inputs(config: Config, models: Mapping[str, str], tokens_key: str, allocation_key: str) -> StageInputs:
    """Text in every language that seed, dense, the experts and their mixture write; models: keys by name."""
    fields: dict[str, JsonValue] = {
        "weighting": asdict(weighting_settings(config)),
        "texts": config.evaluation.confusion_texts,
        "tokens": config.evaluation.confusion_tokens,
    }
    parents = {**models, "tokens": tokens_key, "allocation": allocation_key}
    return StageInputs("confusion", fields, parents, CROSS_LINGUAL)
