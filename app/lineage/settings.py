"""From the configuration tree to the plain records that the lower layers take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from app.allocation.base import AllocationSettings
from app.allocation.strategies import STRATEGIES, build_strategy, is_language_strategy
from app.config.corpus import SOURCE_PREFIX
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.languages import normalise
from app.core.seeding import derive_seed
from app.core.suggest import unknown_value
from app.corpora.base import CorpusSettings, SourceFile
from app.corpora.enough import needed_bytes
from app.corpora.layouts import LAYOUTS
from app.ensemble.rules import WeightingSettings
from app.models.architecture import ModelShape
from app.models.registry import architecture
from app.training.loop import TrainingSpec

PROBE = "probe:"
"""Before the name of a probe among a strategy's needs."""


def corpus_settings(config: Config) -> CorpusSettings:
    """What ``app.corpora`` needs. Made on the driver: local folders are absolute, since workers run in other ones."""
    corpus = config.corpus
    # Of `files` it may be an address or a glob, and its listing makes the files' names absolute.
    is_copy = corpus.source in LAYOUTS and corpus.path
    return CorpusSettings(
        source=corpus.source,
        path=str(Path(corpus.path).absolute()) if is_copy else corpus.path or None,
        languages=corpus.languages,
        seed=config.run.seed,
        columns=corpus.columns.model_dump(),
        source_weights=source_weights(config),
        max_files_per_language=corpus.max_files_per_language,
        max_documents_per_file=corpus.max_documents_per_file,
        max_line_bytes=corpus.max_line_bytes,
        min_characters=corpus.min_characters,
        revision=corpus.revision or None,
        staging_dir=str(Path(corpus.staging).absolute()),
        keep_staged=corpus.keep_staged,
        retries=corpus.retries,
        retry_wait_seconds=corpus.retry_wait_seconds,
        documents_per_language=corpus.documents_per_language,
        validation_documents_per_language=corpus.validation_documents_per_language,
    )


def language_quality(config: Config) -> dict[str, float]:
    """Factors on the mixture, by normalised language. Raises CorpusError for an unknown one."""
    weights = config.corpus.quality_weights
    return {normalise(name): weight for name, weight in weights.items() if not name.startswith(SOURCE_PREFIX)}


def needed_text(config: Config, files: Iterable[SourceFile]) -> int:
    """Training text that each language needs at most for its share of the budget, UTF-8 bytes; see ``needed_bytes``."""
    factors, corpus = language_quality(config), config.corpus
    languages = {normalise(code) for code in corpus.languages} | {file.lang for file in files if file.lang}
    # Where no language is known the whole budget is counted for one; sorted, since the order changes a sum of floats.
    weights = {lang: factors.get(lang, 1.0) for lang in sorted(languages)} or {"": 1.0}
    per_token = config.planning.text_bytes_per_token
    return needed_bytes(weights, config.training.budget_tokens, corpus.mixture_max_epochs, per_token)


def source_weights(config: Config) -> dict[str, float]:
    """Share of documents to keep, by value of the corpus's source column."""
    weights = config.corpus.quality_weights
    return {name.removeprefix(SOURCE_PREFIX): w for name, w in weights.items() if name.startswith(SOURCE_PREFIX)}


def allocation_settings(config: Config) -> AllocationSettings:
    """What ``app.allocation`` needs."""
    fields = config.allocation.model_dump(exclude={"k", "sample_documents"})
    return AllocationSettings(**fields)


def weighting_settings(config: Config) -> WeightingSettings:
    """How the ensemble is weighed, by the configured name, which may be ``auto``."""
    evaluation = config.evaluation
    return WeightingSettings(
        name=evaluation.weighting,
        temperature=evaluation.temperature,
        top_m=evaluation.top_m,
        power=evaluation.power,
        forgetting=evaluation.forgetting,
        drop_below=evaluation.drop_below,
        rescore_every=evaluation.rescore_every,
    )


def require_known_names(config: Config) -> None:
    """Raise ConfigError for a strategy or architecture that does not exist: before anything is started."""
    architecture(config.seed.architecture)
    if config.allocation.strategy not in STRATEGIES:
        raise ConfigError(unknown_value("allocation.strategy", config.allocation.strategy, STRATEGIES))


def is_language_level(config: Config) -> bool:
    """Whether the strategy gives whole languages to experts. Raises AllocationError for an unknown strategy."""
    return is_language_strategy(config.allocation.strategy)


def probes_of(config: Config) -> list[str]:
    """Probes of the seed that the strategy looks at, sorted. Raises AllocationError for an unknown strategy."""
    needs = build_strategy(allocation_settings(config)).needs
    return sorted(need.removeprefix(PROBE) for need in needs if need.startswith(PROBE))


def seed_shape(config: Config, vocabulary_size: int) -> ModelShape:
    """Shape of a seed trained by us."""
    seed = config.seed
    return ModelShape(
        architecture=seed.architecture,
        vocab_size=vocabulary_size,
        d_model=seed.width,
        layers=seed.layers,
        heads=seed.heads,
        ffn=seed.ffn_width,
        context=config.training.sequence_length,
    )


def training_spec(config: Config, key: str, budget_tokens: int, learning_rate: float) -> TrainingSpec:
    """The loop's settings for one model; the device is chosen where it runs."""
    training = config.training
    return TrainingSpec(
        key=key,
        # From the key: models have streams of their own, and the same model has the same one in every run.
        run_seed=derive_seed(config.run.seed, "model", key),
        budget_tokens=budget_tokens,
        sequence_length=training.sequence_length,
        tokens_per_step=training.tokens_per_step,
        micro_batch_rows=training.micro_batch_rows,
        learning_rate=learning_rate,
        schedule=training.schedule,
        warmup_fraction=training.warmup_fraction,
        final_learning_rate_fraction=training.final_learning_rate_fraction,
        weight_decay=training.weight_decay,
        beta1=training.beta1,
        beta2=training.beta2,
        epsilon=training.epsilon,
        clip_norm=training.clip_norm,
        precision=training.precision,
        activation_checkpointing=training.activation_checkpointing,
        loss_chunk_tokens=training.loss_chunk_tokens,
        checkpoint_every_steps=training.checkpoint_every_steps,
        device="auto",
        parallelism=training.parallelism,
    )
