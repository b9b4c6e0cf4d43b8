"""One model on two workers: the rows, steps, checkpoints and ends of one worker alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import Store
from app.models.load import save_model
from app.training.parallel import Parallelism, share
from tests.support.tiny_models import tiny_model
from tests.support.tiny_training import SPEC
from tests.support.two_workers import Order, Outcome, Team, Weights, carry_out, team

DATA: Parallelism = "data"
BOTH = pytest.mark.parametrize("parallelism", ["data", "fsdp"])
# Sums of float32 in another order, through eight steps of AdamW with a rate of 0.01.
CLOSE = {"rtol": 2e-3, "atol": 2e-4}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(2, tmp_path_factory.mktemp("group") / "meet") as workers:
        yield workers


def together(two: Team, order: Order) -> list[Outcome]:
    outcomes: list[Outcome] = two.run(carry_out, order)
    return outcomes


def order(root: Path, parallelism: Parallelism = DATA, **changes: object) -> Order:
    """Checkpoints every two steps; three rows a pass, so that passes and shares do not come out even."""
    settings = {"parallelism": parallelism, "checkpoint_every_steps": 2, "micro_batch_rows": 3, **changes}
    return Order(replace(SPEC, **settings), str(root))  # type: ignore[arg-type]


def assert_close(one: Weights, other: Weights) -> None:
    for name in other:
        np.testing.assert_allclose(one[name], other[name], err_msg=name, **CLOSE)


def assert_equal(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name in other:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def steps(root: Path) -> list[int]:
    return ModelCheckpoints(Store(str(root)).stage("model", "m"), 2).steps()


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (5, 2), (7, 3), (2, 3), (1, 1)])
def test_shares_in_order_of_rank_are_all_rows_and_differ_by_one_at_most(rows: int, count: int) -> None:
    shares = [share(rows, rank, count) for rank in range(count)]
    assert [row for start, stop in shares for row in range(start, stop)] == list(range(rows))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


@BOTH
@pytest.mark.parametrize(
    "changes", [{}, {"activation_checkpointing": True, "micro_batch_rows": 1}, {"trained": ("*norm*", "*layers.0.*")}]
)
@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_two_workers_end_where_one_does(
    two: Team, tmp_path: Path, parallelism: Parallelism, architecture: str, changes: dict[str, object]
) -> None:
    wanted = replace(order(tmp_path / "two", parallelism, **changes), architecture=architecture)  # type: ignore[arg-type]
    first, second = together(two, wanted)
    one = carry_out(replace(wanted, root=str(tmp_path / "one")))
    assert_close(first.weights, one.weights)
    np.testing.assert_allclose(first.losses, one.losses, rtol=1e-4)
    np.testing.assert_allclose(first.norms, one.norms, rtol=1e-3)
    assert (first.losses, first.norms) == (second.losses, second.norms)
    assert steps(tmp_path / "two") == steps(tmp_path / "one") == [6, 8]


def test_in_bfloat16_a_sharded_model_is_the_model_held_whole(two: Team, tmp_path: Path) -> None:
    data, sharded = (together(two, order(tmp_path / p, p, precision="bf16"))[0] for p in ("data", "fsdp"))
    assert_close(sharded.weights, data.weights)
    np.testing.assert_allclose(sharded.losses, data.losses, rtol=1e-4)


@pytest.mark.parametrize("rows", [4, 5, 1])
@BOTH
def test_the_workers_rows_are_together_those_of_one_in_the_same_order(
    two: Team, tmp_path: Path, parallelism: Parallelism, rows: int
) -> None:
    sizes = {"tokens_per_step": rows * 8, "budget_tokens": 3 * rows * 8, "micro_batch_rows": 2}
    wanted = order(tmp_path / "two", parallelism, **sizes)
    first, second = together(two, wanted)
    one = carry_out(replace(wanted, root=str(tmp_path / "one")))
    assert len(first.rows) == len(second.rows) == len(one.rows) == 3
    for a, b, both in zip(first.rows, second.rows, one.rows, strict=True):
        np.testing.assert_array_equal(np.concatenate([a, b]), both)
    assert_close(first.weights, one.weights)


@BOTH
def test_two_runs_of_two_workers_are_equal_bit_for_bit(two: Team, tmp_path: Path, parallelism: Parallelism) -> None:
    runs = [together(two, order(tmp_path / name, parallelism))[0] for name in ("a", "b")]
    assert_equal(runs[0].weights, runs[1].weights)
    assert runs[0].losses == runs[1].losses


@BOTH
def test_a_run_that_fails_goes_on_from_its_checkpoint_and_ends_bit_for_bit_the_same(
    two: Team, tmp_path: Path, parallelism: Parallelism
) -> None:
    undisturbed = together(two, order(tmp_path / "quiet", parallelism))[0]
    killed = replace(order(tmp_path / "killed", parallelism), fail_at={0: 5, 1: 5})
    assert [outcome.error for outcome in together(two, killed)] == ["RuntimeError: killed after step 5"] * 2
    resumed = together(two, replace(killed, fail_at={}, seed=99))
    assert [outcome.started for outcome in resumed] == [[4], [4]]
    assert_equal(resumed[0].weights, undisturbed.weights)


@BOTH
@pytest.mark.parametrize("first", [1, 2])
def test_a_checkpoint_of_some_workers_is_continued_by_another_number(
    two: Team, tmp_path: Path, parallelism: Parallelism, first: int
) -> None:
    begun = replace(order(tmp_path / "begun", parallelism), fail_at={0: 5, 1: 5})
    rest = replace(begun, fail_at={}, seed=99)
    if first == 1:
        carry_out(begun)
        outcome = together(two, rest)[0]
    else:
        together(two, begun)
        outcome = carry_out(rest)
    assert outcome.started == [4] and len(outcome.losses) == 4
    assert_close(outcome.weights, carry_out(order(tmp_path / "whole", parallelism)).weights)


@BOTH
@pytest.mark.parametrize("asked", [0, 1])
def test_a_worker_that_is_asked_to_stop_stops_all_after_the_same_step(
    two: Team, tmp_path: Path, parallelism: Parallelism, asked: int
) -> None:
    wanted = replace(order(tmp_path, parallelism, checkpoint_every_steps=100), stop_at={asked: 3})
    outcomes = together(two, wanted)
    reasons = [outcome.error.split("; run the same")[0] for outcome in outcomes]
    assert reasons[asked] == "Preempted: stopped after step 3: test"
    assert reasons[1 - asked] == "Preempted: stopped after step 3: another of its workers was asked to"
    assert steps(tmp_path) == [3]


@BOTH
def test_what_the_saving_worker_fails_with_all_fail_with(two: Team, tmp_path: Path, parallelism: Parallelism) -> None:
    outcomes = together(two, replace(order(tmp_path, parallelism), lose_lease=True))
    assert [outcome.error for outcome in outcomes] == ["LeaseLost: another attempt trains this; step 2"] * 2
    assert [len(outcome.losses) for outcome in outcomes] == [4, 4]


@BOTH
def test_a_rate_too_high_fails_on_all_workers_at_the_same_step(
    two: Team, tmp_path: Path, parallelism: Parallelism
) -> None:
    outcomes = together(two, order(tmp_path, parallelism, learning_rate=1e38, warmup_fraction=0.0))
    assert "NonFiniteLoss: model k: loss" in outcomes[0].error
    assert outcomes[0].error == outcomes[1].error


def test_a_sharded_models_checkpoint_and_weights_are_ordinary_files(two: Team, tmp_path: Path) -> None:
    outcomes = together(two, order(tmp_path / "sharded", "fsdp"))
    carry_out(order(tmp_path / "alone"))
    folders = [tmp_path / name / "store/model/m/step-00000008" for name in ("sharded", "alone")]
    sizes = [{file.name: file.stat().st_size for file in folder.glob("*.safetensors")} for folder in folders]
    assert sizes[0] == sizes[1] and len(sizes[0]) == 2
    model = tiny_model()
    for name, weight in model.named_parameters():
        weight.data.copy_(weight.new_tensor(outcomes[0].weights[name]))
    save_model(model, tmp_path / "final", "")
    library = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    assert_equal({"w": library.get_input_embeddings().weight.detach().numpy()}, {"w": model.head.detach().numpy()})
