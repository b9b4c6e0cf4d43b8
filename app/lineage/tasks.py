"""Which models a run trains, from what: the seed, the dense baseline and the experts as tasks with keys."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import AllocationError
from app.core.records import IntArray, JsonValue
from app.corpora.mixture import language_weights
from app.lineage.inputs import StageInputs, optimisation_fields, seed_inputs
from app.lineage.parents import find_allocation, find_tokens
from app.lineage.settings import language_quality, training_spec
from app.tokens.dataset import TokenCorpus
from app.training.budget import split_budget
from app.training.model_task import ModelTask, read_assignment


@dataclass(frozen=True)
class Part:
    """One expert's share of the corpus: for each language the rows it holds (None: all) and their tokens."""

    name: str
    rows: Mapping[str, IntArray | None]
    tokens: Mapping[str, int]


def mixture_weights(config: Config, corpus: TokenCorpus) -> dict[str, float]:
    """The distribution over languages that dense draws from, sums to 1."""
    tokens = {lang: _tokens(corpus, lang, None) for lang in corpus.languages()}
    return language_weights(
        config.corpus.mixture,
        tokens,
        config.corpus.mixture_temperature,
        config.corpus.mixture_max_epochs,
        config.training.budget_tokens,
        language_quality(config),
    )


def seed_stage(config: Config, store: Store) -> StageFolder:
    """Where this config's seed is or will be."""
    tokens = find_tokens(config, store)
    mixture = mixture_weights(config, TokenCorpus.open(str(tokens.local())))
    return store.stage("model", seed_inputs(config, tokens.key, mixture).key)


def dense_task(config: Config, store: Store) -> ModelTask:
    """The dense baseline: one part that holds everything, the whole budget."""
    tokens = find_tokens(config, store)
    corpus = TokenCorpus.open(str(tokens.local()))
    rows: dict[str, IntArray | None] = dict.fromkeys(corpus.languages())
    part = Part("dense", rows, {lang: _tokens(corpus, lang, None) for lang in rows})
    weights = mixture_weights(config, corpus)
    return _task(config, store, part, weights, config.training.budget_tokens)


def expert_tasks(config: Config, store: Store) -> list[ModelTask]:
    """The experts in the allocation's order; their budgets add up to the dense one's."""
    tokens, allocation = find_tokens(config, store), find_allocation(config, store)
    corpus = TokenCorpus.open(str(tokens.local()))
    mixture = mixture_weights(config, corpus)
    parts = read_parts(allocation, corpus)
    totals = {lang: _tokens(corpus, lang, None) for lang in corpus.languages()}
    drawn = [expert_weights(part, mixture, totals, config.training.sequence_length) for part in parts]
    shares = [sum(weights.values()) for weights in drawn]
    if config.training.budget_split == "equal":
        shares = [1.0] * len(parts)
    budgets = split_budget(config.training.budget_tokens, [share / sum(shares) for share in shares])
    tasks = []
    for number, (part, weights, budget) in enumerate(zip(parts, drawn, budgets, strict=True)):
        total = sum(weights.values())
        if not total:
            raise AllocationError(
                f"{part.name} of {config.allocation.strategy} k={config.allocation.k} has too little text for a row of"
                f" {config.training.sequence_length} tokens; lower allocation.k or set allocation.assignment=balanced"
            )
        normal = {lang: weight / total for lang, weight in weights.items()}
        task = _task(config, store, part, normal, budget)
        whole = all(rows is None for rows in part.rows.values())
        tasks.append(task if whole else replace(task, allocation=allocation.key, expert=number))
    return tasks


def read_parts(allocation: StageFolder, corpus: TokenCorpus) -> list[Part]:
    """The parts of a finished allocation in expert order."""
    counts = allocation.manifest().counts
    experts, clusters = counts["experts"], counts.get("clusters")
    assert isinstance(experts, list)
    if isinstance(clusters, list):
        return [
            Part(str(name), dict.fromkeys(cluster), {lang: _tokens(corpus, lang, None) for lang in cluster})
            for name, cluster in zip(experts, clusters, strict=True)
        ]
    held: list[dict[str, IntArray]] = [{} for _ in experts]
    for lang in corpus.languages():
        assignment = read_assignment(allocation, lang, corpus.documents(lang, "train").doc_ids)
        for number in range(len(experts)):
            rows = np.flatnonzero(assignment == number).astype(np.int64)
            if rows.size:
                held[number][lang] = rows
    return [
        Part(str(name), rows, {lang: _tokens(corpus, lang, chosen) for lang, chosen in rows.items()})
        for name, rows in zip(experts, held, strict=True)
    ]


def expert_weights(
    part: Part, mixture: Mapping[str, float], totals: Mapping[str, int], sequence_length: int
) -> dict[str, float]:
    """An expert's share of the mixture, by language: the language's weight times the part of its tokens held here.

    The values add up to the expert's share of the whole mixture, so that with ``budget_split: by_mixture`` every
    language is seen as often over all experts as by the dense model. A language with less than one row of text in
    the part gets no weight.
    """
    return {
        lang: mixture[lang] * tokens / totals[lang] for lang, tokens in part.tokens.items() if tokens >= sequence_length
    }


def _task(config: Config, store: Store, part: Part, weights: Mapping[str, float], budget: int) -> ModelTask:
    tokens, seed = find_tokens(config, store), seed_stage(config, store)
    fields: dict[str, JsonValue] = {
        "kind": "trained",
        "documents": {lang: _rows_digest(part.rows[lang]) for lang in sorted(weights)},
        "mixture": {lang: weights[lang] for lang in sorted(weights)},
        "optimisation": optimisation_fields(config),
        "budget_tokens": budget,
        "random_seed": config.run.seed,
    }
    inputs = StageInputs("model", fields, {"tokens": tokens.key, "seed": seed.key})
    return ModelTask(
        name=part.name,
        store=store,
        key=inputs.key,
        fields=inputs.fields,
        parents=inputs.parents,
        tokens=tokens.key,
        parent=seed.key,
        shape=None,
        weights=dict(weights),
        spec=training_spec(config, inputs.key, budget, config.training.learning_rate),
        keep_checkpoints=config.training.keep_checkpoints,
        run=config.run.name,
        trackers=config.training.trackers,
    )


def _rows_digest(rows: IntArray | None) -> str:
    return "all" if rows is None else hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()


def _tokens(corpus: TokenCorpus, lang: str, rows: IntArray | None) -> int:
    lengths = corpus.documents(lang, "train").length
    return int(lengths.sum() if rows is None else lengths[rows].sum())


def named(tasks: Sequence[ModelTask]) -> dict[str, StageFolder]:
    """Readable name -> stage of each task."""
    return {task.name: task.stage for task in tasks}
