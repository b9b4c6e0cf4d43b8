"""Which models a run trains, from what: the seed, the dense baselines and the experts as tasks with keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.config.training import BaselineConfig
from app.core.errors import AllocationError
from app.core.records import JsonValue
from app.lineage.inputs import (
    ADAPT,
    BASELINE,
    TRAIN,
    StageInputs,
    baseline_tokens_per_step,
    optimisation_fields,
    seed_tokens_per_step,
    trained_seed_inputs,
)
from app.lineage.parts import Part, expert_weights, mixture_weights, read_parts, whole_part
from app.lineage.settings import seed_shape, training_spec
from app.tokens.dataset import TokenCorpus
from app.training.budget import split_budget
from app.training.loop import TrainingSpec
from app.training.model_task import ModelTask


@dataclass(frozen=True)
class Parents:
    """What every trained model of a run is made from."""

    tokens: StageFolder
    corpus: TokenCorpus
    seed: StageFolder


def seed_task(config: Config, store: Store, parents: Parents, vocabulary_size: int) -> ModelTask:
    """A seed that is trained on the whole mixture, from nothing."""
    mixture = mixture_weights(config, parents.corpus)
    inputs = trained_seed_inputs(config, parents.tokens.key, mixture)
    spec = training_spec(config, inputs.key, config.seed.budget_tokens, config.seed.learning_rate)
    spec = replace(spec, tokens_per_step=seed_tokens_per_step(config))
    whole = whole_part("seed", parents.corpus, parents.corpus.languages())
    task = _model_task(config, store, whole, inputs, parents, mixture, spec)
    # _model_task has named the seed as the parent, and that is the model itself here.
    return replace(task, parent=None, shape=seed_shape(config, vocabulary_size))


def baseline_task(config: Config, store: Store, parents: Parents, name: str) -> ModelTask:
    """A dense model: one part that holds everything, the whole budget."""
    corpus = parents.corpus
    part, weights = whole_part(name, corpus, corpus.languages()), mixture_weights(config, corpus)
    return _trained(config, store, parents, part, weights, config.training.budget_tokens, config.baselines[name])


def expert_tasks(config: Config, store: Store, parents: Parents, allocation: StageFolder) -> list[ModelTask]:
    """The experts in the allocation's order; their budgets add up to the dense one's.

    Raises AllocationError for a part with less text than a row.
    """
    corpus, length = parents.corpus, config.training.sequence_length
    mixture, parts = mixture_weights(config, corpus), read_parts(allocation, corpus)
    totals = corpus.counts.training_tokens()
    drawn = [expert_weights(part, mixture, totals, length) for part in parts]
    shares = [sum(weights.values()) for weights in drawn]
    if config.training.budget_split == "equal":
        shares = [1.0] * len(parts)
    budgets = split_budget(config.training.budget_tokens, shares, config.training.tokens_per_step)
    if len(parts) == 1:  # the dense model, and trained once only if it has the same key
        budgets = [config.training.budget_tokens]
    tasks = []
    for number, (part, weights, budget) in enumerate(zip(parts, drawn, budgets, strict=True)):
        total = sum(weights.values())
        if not total:
            raise AllocationError(
                f"{part.name} of {config.allocation.strategy} k={config.allocation.k} has too little text for a row of"
                f" {length} tokens; lower allocation.k or set allocation.assignment=balanced"
            )
        normal = {lang: weight / total for lang, weight in weights.items()}
        task = _trained(config, store, parents, part, normal, budget)
        # The key has the documents' digests, not the allocation where they are looked up: two cuts that give an expert
        # the same documents train it once.
        tasks.append(task if part.is_whole else replace(task, allocation=allocation.key, expert=number))
    return tasks


def branched_task(
    config: Config, store: Store, parents: Parents, name: str, weights: Mapping[str, float], budget: int, round_: int
) -> ModelTask:
    """A model of a later round. parents: the text, and in place of the seed the model that it branches from.

    weights: share of each language in its rows.
    """
    part = whole_part(name, parents.corpus, tuple(weights))
    return replace(_trained(config, store, parents, part, weights, budget, made_by=ADAPT), round=round_)


def unique(tasks: Iterable[ModelTask]) -> list[ModelTask]:
    """Tasks, in order, without those of a key that stood before: two names may mean one model."""
    first: dict[str, ModelTask] = {}
    for task in tasks:
        first.setdefault(task.key, task)
    return list(first.values())


def named(tasks: Sequence[ModelTask]) -> dict[str, StageFolder]:
    """Readable name -> stage of each task."""
    return {task.name: task.stage for task in tasks}


def _trained(
    config: Config,
    store: Store,
    parents: Parents,
    part: Part,
    weights: Mapping[str, float],
    budget: int,
    baseline: BaselineConfig | None = None,
    made_by: str = TRAIN,
) -> ModelTask:
    """A model branched from the seed; ``baseline`` for a dense one."""
    optimisation = optimisation_fields(config, baseline)
    fields: dict[str, JsonValue] = {
        "kind": "trained",
        "documents": {lang: part.documents[lang] for lang in sorted(weights)},
        "mixture": {lang: weights[lang] for lang in sorted(weights)},
        "optimisation": optimisation,
        "budget_tokens": budget,
        "random_seed": config.run.seed,
    }
    origin = {"tokens": parents.tokens.key, "parent": parents.seed.key}
    inputs = StageInputs("model", fields, origin, made_by if baseline is None else BASELINE)
    # A baseline's rate of 0 stands for the experts'.
    rate = (baseline.learning_rate if baseline else 0.0) or config.training.learning_rate
    spec = training_spec(config, inputs.key, budget, rate)
    if baseline is not None:
        spec = replace(spec, tokens_per_step=baseline_tokens_per_step(config, baseline))
    return _model_task(config, store, part, inputs, parents, weights, spec)


def _model_task(
    config: Config,
    store: Store,
    part: Part,
    inputs: StageInputs,
    parents: Parents,
    weights: Mapping[str, float],
    spec: TrainingSpec,
) -> ModelTask:
    return ModelTask(
        name=part.name,
        store=store,
        key=inputs.key,
        fields=inputs.fields,
        parents=inputs.parents,
        tokens=parents.tokens.key,
        parent=parents.seed.key,
        shape=None,
        weights=dict(weights),
        spec=spec,
        keep_checkpoints=config.training.keep_checkpoints,
        run=config.run.name,
        trackers=config.training.trackers,
        made_by=inputs.made_by,
        held={lang: part.tokens[lang] for lang in weights},
    )
