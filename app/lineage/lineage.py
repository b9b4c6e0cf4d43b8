"""What a run is made of: every stage and every model task of a configuration, resolved once.

One object goes through all stages of a job. Nothing is made here. What depends on a stage that is not finished yet
cannot be resolved before it is; asking for it raises MissingArtifact, and asking again later finds it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from app.allocation.strategies import build_strategy
from app.artifacts.counts import TokenizerCounts
from app.artifacts.digests import DigestMemory
from app.artifacts.store import Folder, StageFolder, Store
from app.config.schema import Config
from app.core.errors import CorruptArtifact
from app.core.records import JsonValue
from app.corpora.base import Corpus
from app.corpora.sources import open_corpus
from app.evaluation.systems import DENSE
from app.lineage.inputs import (
    SEED_FILE_SUFFIXES,
    PlannedStage,
    allocation_inputs,
    confusion_inputs,
    planned,
    pretrained_seed_inputs,
    probe_inputs,
    samples_inputs,
    scores_inputs,
    seed_location,
    shards_inputs,
    tokenizer_inputs,
    tokens_inputs,
    trained_seed_inputs,
)
from app.lineage.parts import mixture_weights
from app.lineage.settings import PROBE, allocation_settings, corpus_settings, is_language_level, probes_of
from app.lineage.tasks import Parents, baseline_task, expert_tasks, seed_task
from app.tokens.dataset import TokenCorpus
from app.training.model_task import ModelTask


class Lineage:
    """The stages of ``config`` in ``store``. stops: folder in which a stop is asked for, if not the run's own."""

    # A cached_property keeps no exception: what raised MissingArtifact is looked for again when it is next asked for.
    def __init__(self, config: Config, store: Store, stops: Folder | None = None) -> None:
        self.config, self.store, self.stops = config, store, stops

    @property
    def run(self) -> Folder:
        """The run folder."""
        return self.store.run(self.config.run.name)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus, listed once. Raises CorpusError."""
        return open_corpus(corpus_settings(self.config))

    @cached_property
    def shards(self) -> PlannedStage:
        """Where the shards are or will be."""
        return planned(shards_inputs(self.config, self.corpus), self.store)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages that the finished shards hold, sorted."""
        shards = self.shards.finished()
        languages = shards.manifest().counts["languages"]
        if not isinstance(languages, list):
            raise CorruptArtifact(
                f"{shards.uri}: the manifest names no languages; delete its folder and run {shards.made_by} again"
            )
        return tuple(str(lang) for lang in languages)

    @cached_property
    def seed_identity(self) -> dict[str, JsonValue]:
        """What a pretrained seed's keys are made of: digests of its files, or its Hub id; empty for a trained seed."""
        seed = self.config.seed
        if seed.source != "pretrained":
            return {}
        folder, memory = Path(seed_location(seed.model)), DigestMemory(self.store.cache_folder)
        if not folder.is_dir():
            # By its name alone: to make a key nothing is downloaded.
            return {"model": seed.model, "revision": seed.revision}
        # Names and digests, not the folder: the same seed on another machine, or moved, keeps its keys.
        files = sorted(file for file in folder.iterdir() if file.suffix in SEED_FILE_SUFFIXES)
        return {"files": {file.name: memory.digest(file) for file in files}}

    @cached_property
    def tokenizer(self) -> PlannedStage:
        """Where the tokenizer is or will be."""
        return planned(tokenizer_inputs(self.config, self.seed_identity, self.shards.key), self.store)

    @cached_property
    def tokens(self) -> PlannedStage:
        """Where the tokens are or will be."""
        return planned(tokens_inputs(self.shards.key, self.tokenizer.key), self.store)

    @cached_property
    def token_corpus(self) -> TokenCorpus:
        """The finished tokens. Raises MissingArtifact naming the first command that is missing, which alone can run."""
        if not self.tokens.is_complete:
            self.shards.finished()
            self.tokenizer.finished()
        return TokenCorpus.open(self.tokens.finished())

    @cached_property
    def mixture(self) -> dict[str, float]:
        """The distribution over languages that dense draws from; needs the tokens."""
        return mixture_weights(self.config, self.token_corpus)

    @cached_property
    def seed(self) -> PlannedStage:
        """Where the seed is or will be; a trained one needs the tokens."""
        if self.config.seed.source == "pretrained":
            return planned(pretrained_seed_inputs(self.seed_identity), self.store)
        return planned(trained_seed_inputs(self.config, self.tokens.key, self.mixture), self.store)

    @cached_property
    def seed_task(self) -> ModelTask:
        """The training of a seed of our own; needs tokenizer and tokens."""
        vocabulary = self.tokenizer.folder.counts(TokenizerCounts).vocabulary_size
        return seed_task(self.config, self.store, self._parents, vocabulary)

    @cached_property
    def evidence(self) -> dict[str, PlannedStage]:
        """The stages that the strategy looks at, by the name of its need. A cut of documents counts their tokens."""
        sources = {"documents": self.shards, "tokens": self.tokens}
        looked_at = self._needs | ({"tokens"} if "documents" in self._needs else frozenset())
        found = {name: stage for name, stage in sources.items() if name in looked_at}
        return found | {f"{PROBE}{name}": stage for name, stage in self.probes.items()}

    @cached_property
    def probes(self) -> dict[str, PlannedStage]:
        """The probes of the seed that the strategy looks at, by name; they need tokens and a seed."""
        names = probes_of(self.config)
        if not names:
            return {}
        parents = {"tokens": self.tokens.key, "seed": self.seed.key}
        return {name: planned(probe_inputs(self.config, name, self.languages, parents), self.store) for name in names}

    @cached_property
    def _needs(self) -> frozenset[str]:
        return build_strategy(allocation_settings(self.config)).needs

    @cached_property
    def allocation(self) -> PlannedStage:
        """Where the allocation is or will be; it depends on the languages and on what its strategy looks at."""
        evidence = {name: stage.key for name, stage in self.evidence.items()}
        return planned(allocation_inputs(self.config, self.languages, evidence), self.store)

    @cached_property
    def baselines(self) -> list[ModelTask]:
        """The dense models; they need tokens and a seed."""
        return [baseline_task(self.config, self.store, self._parents, name) for name in self.config.baselines]

    @cached_property
    def experts(self) -> list[ModelTask]:
        """The experts in the allocation's order; they need tokens, seed and allocation."""
        return expert_tasks(self.config, self.store, self._parents, self.allocation.finished())

    @property
    def is_language_level(self) -> bool:
        """Whether whole languages are given to experts."""
        return is_language_level(self.config)

    def models(self) -> dict[str, StageFolder]:
        """Readable name -> folder of the seed, the dense models and the experts, made or not."""
        return {"seed": self.seed.folder, **{task.name: task.stage for task in (*self.baselines, *self.experts)}}

    def scores(self, model_key: str) -> PlannedStage:
        """Where the log-probabilities of one model are or will be."""
        return planned(scores_inputs(self.config, self.tokens.key, model_key), self.store)

    @cached_property
    def samples(self) -> PlannedStage:
        """Where text written by dense, the experts and their mixture is or will be."""
        dense = {task.name: task.key for task in self.baselines if task.name == DENSE}
        models = dense | {task.name: task.key for task in self.experts}
        return planned(samples_inputs(self.config, models, self.tokens.key, self.allocation.key), self.store)

    @cached_property
    def confusion(self) -> PlannedStage:
        """Where text in every language, and how much of it is in that language, is or will be."""
        dense = {task.name: task.key for task in self.baselines if task.name == DENSE}
        models = {"seed": self.seed.key} | dense | {task.name: task.key for task in self.experts}
        return planned(confusion_inputs(self.config, models, self.tokens.key, self.allocation.key), self.store)

    @cached_property
    def _parents(self) -> Parents:
        return Parents(self.tokens.folder, self.token_corpus, self.seed.folder)
