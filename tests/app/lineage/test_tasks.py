from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app.artifacts.counts import AllocationCounts
from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.config.load import load_config
from app.core.errors import TrainingError
from app.lineage.tasks import Parents, baseline_task, expert_tasks, seed_task, unique
from app.training.model_task import ModelTask
from tests.support.token_store import numbered, write_corpus

SETTINGS = ("training.sequence_length=8", "training.tokens_per_step=16", "training.budget_tokens=1600")
THREE_AND_ONE = (("de", "en", "hi"), ("ja",))


def tasks(
    root: Path, *settings: str, parts: tuple[tuple[str, ...], ...] = THREE_AND_ONE
) -> tuple[ModelTask, list[ModelTask]]:
    """The dense model and an expert for each part; ten times as much German as of the others."""
    config, store = load_config("demo", overrides=[*SETTINGS, *settings]), Store(str(root))
    stage = store.stage("tokens", "t")
    corpus = write_corpus(stage, numbered({"de": [[500], [500]], "en": [[100]], "hi": [[100]], "ja": [[100]]}))
    parents = Parents(stage, corpus, store.stage("model", "seed"))
    experts = expert_tasks(config, store, parents, allocation(store, parts))
    return baseline_task(config, store, parents, "dense"), experts


def allocation(store: Store, parts: tuple[tuple[str, ...], ...]) -> StageFolder:
    stage = store.stage("allocation", "a")
    counts = AllocationCounts(tuple(f"expert-{number:02d}" for number in range(len(parts))), "language", parts)
    stage.publish(Manifest("allocation", "a", {}, {}, asdict(counts)))
    return stage


def test_budgets_follow_the_mixture_in_whole_steps_that_add_up_to_denses(tmp_path: Path) -> None:
    dense, experts = tasks(tmp_path, "training.budget_split=by_mixture")
    assert [task.spec.num_steps for task in experts] == [75, 25] and dense.spec.num_steps == 100
    assert [task.weights for task in experts] == [pytest.approx(dict.fromkeys(("de", "en", "hi"), 1 / 3)), {"ja": 1.0}]


def test_budgets_are_equal_where_that_is_asked_for(tmp_path: Path) -> None:
    _, experts = tasks(tmp_path, "training.budget_split=equal")
    assert [task.spec.num_steps for task in experts] == [50, 50]


def test_small_budgets_are_not_rounded_up_for_each_expert(tmp_path: Path) -> None:
    dense, experts = tasks(tmp_path, "training.budget_tokens=48")
    assert dense.spec.num_steps == 3 and [task.spec.num_steps for task in experts] == [2, 1]
    with pytest.raises(TrainingError, match="1 steps of 16, too few for 2 models"):
        tasks(tmp_path, "training.budget_tokens=16")


def test_dense_and_experts_learn_at_the_same_rate_unless_the_baseline_says_otherwise(tmp_path: Path) -> None:
    dense, experts = tasks(tmp_path, "training.learning_rate=0.003")
    assert {task.spec.learning_rate for task in (dense, *experts)} == {0.003}


def test_the_one_expert_of_k_1_is_the_dense_model_also_where_the_budget_is_not_in_whole_steps(tmp_path: Path) -> None:
    dense, (expert,) = tasks(tmp_path, "training.budget_tokens=1607", parts=(("de", "en", "hi", "ja"),))
    assert expert.key == dense.key and expert.spec == dense.spec and dense.spec.num_steps == 100


def test_a_trained_seed_takes_steps_of_its_own_or_those_of_the_experts(tmp_path: Path) -> None:
    def tokens_per_step(*settings: str) -> int:
        overrides = [*SETTINGS, "seed.source=trained", *settings]
        config, store = load_config("demo", overrides=overrides), Store(str(tmp_path))
        stage = store.stage("tokens", "t")
        parents = Parents(stage, write_corpus(stage, numbered({"de": [[500]]})), store.stage("model", "seed"))
        return seed_task(config, store, parents, 600).spec.tokens_per_step

    assert (tokens_per_step(), tokens_per_step("seed.tokens_per_step=32")) == (16, 32)


def test_every_model_has_a_random_stream_of_its_own(tmp_path: Path) -> None:
    dense, experts = tasks(tmp_path)
    assert len({task.spec.run_seed for task in (dense, *experts)}) == 3
    other, _ = tasks(tmp_path, "run.seed=1")
    assert other.spec.run_seed != dense.spec.run_seed


def test_a_task_names_its_parent_its_round_and_the_text_it_has(tmp_path: Path) -> None:
    dense, experts = tasks(tmp_path)
    assert {(task.parent, task.parents["parent"], task.round) for task in (dense, *experts)} == {("seed", "seed", 0)}
    assert dense.held == {"de": 1000, "en": 100, "hi": 100, "ja": 100}
    assert experts[1].held == {"ja": 100} and experts[0].allocation is None


def test_of_two_names_of_one_model_the_first_stays_where_it_stood(tmp_path: Path) -> None:
    dense, (one, other) = tasks(tmp_path)
    again = replace(dense, name="again")
    assert [task.name for task in unique([dense, one, again, other, one])] == [dense.name, one.name, other.name]
