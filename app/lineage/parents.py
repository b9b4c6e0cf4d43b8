"""Finding what an earlier job has made; what is missing or foreign is an error that names the job to run."""

from __future__ import annotations

from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import CorruptArtifact
from app.corpora.sources import open_corpus
from app.lineage.inputs import allocation_inputs, shards_inputs, tokenizer_inputs, tokens_inputs
from app.lineage.settings import corpus_settings, is_language_level


def find_shards(config: Config, store: Store) -> StageFolder:
    """The finished shards of this config's corpus. Raises MissingArtifact, StaleArtifact, CorruptArtifact."""
    stage = store.stage("shards", shards_inputs(config, open_corpus(corpus_settings(config))).key)
    stage.manifest()
    return stage


def languages_of(shards: StageFolder) -> tuple[str, ...]:
    """Languages that the shards hold, sorted."""
    languages = shards.manifest().counts["languages"]
    if not isinstance(languages, list):
        raise CorruptArtifact(
            f"{shards.uri}: the manifest names no languages; delete its folder and run jobs.shard again"
        )
    return tuple(str(lang) for lang in languages)


def find_tokens(config: Config, store: Store) -> StageFolder:
    """The finished tokens of this config's corpus and seed."""
    shards = find_shards(config, store)
    tokenizer = tokenizer_inputs(config, shards.key)
    stage = store.stage("tokens", tokens_inputs(shards.key, tokenizer.key).key)
    stage.manifest()
    return stage


def find_tokenizer(config: Config, store: Store) -> StageFolder:
    """The finished tokenizer of this config's seed."""
    stage = store.stage("tokenizer", tokenizer_inputs(config, find_shards(config, store).key).key)
    stage.manifest()
    return stage


def allocation_stage(config: Config, store: Store) -> StageFolder:
    """Where this config's allocation is or will be; a language-level one depends on the languages alone."""
    shards = find_shards(config, store)
    parent = None if is_language_level(config) else shards.key
    return store.stage("allocation", allocation_inputs(config, languages_of(shards), parent).key)


def find_allocation(config: Config, store: Store) -> StageFolder:
    """The finished allocation of this config."""
    stage = allocation_stage(config, store)
    stage.manifest()
    return stage
