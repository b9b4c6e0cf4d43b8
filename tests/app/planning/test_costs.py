from __future__ import annotations

import pytest
import torch

from app.planning.costs import (
    Gpu,
    checkpoint_bytes,
    gpu_seconds,
    money,
    sharded_training_bytes,
    slot_counts,
    token_bytes,
    training_bytes,
    weights_bytes,
)
from tests.support.tiny_models import tiny_model

GPU = Gpu("one", peak=100e12, memory=24e9, on_demand=2.0, spot=0.5)


def test_bytes_are_those_of_a_model_an_optimizer_and_its_gradients() -> None:
    model = tiny_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model.hidden(torch.ones(1, 4, dtype=torch.int64)).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    count = sum(weight.numel() for weight in model.parameters())
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert sum(value.nbytes for value in moments) + weights_bytes(count) == checkpoint_bytes(count) == 12 * count
    gradients = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    assert checkpoint_bytes(count) + gradients == training_bytes(count)


def test_one_of_four_workers_holds_a_quarter_of_the_state_and_what_is_whole_with_its_gradients() -> None:
    assert sharded_training_bytes(100, workers=4, together=30) == 16 * 25 + 8 * 30


def test_tokens_take_two_bytes_up_to_a_vocabulary_of_65536() -> None:
    assert (token_bytes(10, 65_536), token_bytes(10, 65_537)) == (20, 40)


def test_gpu_time_is_flops_over_the_used_share_of_the_peak() -> None:
    assert gpu_seconds(8e15, GPU, 0.4) == pytest.approx(200.0)


def test_slots_double_up_to_the_number_of_models() -> None:
    assert [slot_counts(models) for models in (1, 2, 5, 8, 9)] == [
        [1],
        [1, 2],
        [1, 2, 4, 5],
        [1, 2, 4, 8],
        [1, 2, 4, 8, 9],
    ]


def test_money_is_gpus_for_their_work_and_a_head_for_the_whole_time() -> None:
    assert money(10.0, 2.0, 4.0, 0.5) == 22.0
