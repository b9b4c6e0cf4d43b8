from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from app.core.errors import CorruptArtifact
from app.models.causal import CausalLM
from app.models.loss import next_token_loss
from app.training.loop import make_optimizer
from app.training.parallel import Alone
from app.training.state import Progress, capture_state, load_state
from tests.support.tiny_models import some_rows, tiny_model
from tests.support.tiny_training import SPEC

ALONE = Alone(torch.device("cpu"))


def trained(steps: int, seed: int = 3) -> tuple[CausalLM, torch.optim.AdamW]:
    model = tiny_model(seed=seed)
    optimizer = make_optimizer(SPEC, model)
    for step in range(steps):
        next_step(model, optimizer, step)
    return model, optimizer


def next_step(model: CausalLM, optimizer: torch.optim.AdamW, step: int) -> None:
    next_token_loss(model, some_rows(seed=step), 8).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_weights_moments_progress_and_randomness_come_back(tmp_path: Path) -> None:
    model, optimizer = trained(3)
    torch.manual_seed(11)
    capture_state(model, optimizer, Progress("k", 3, 96, 2.5)).write(tmp_path)
    drawn = torch.rand(4)
    other, other_optimizer = trained(0, seed=99)
    assert load_state(tmp_path, "k", other, other_optimizer, ALONE) == Progress("k", 3, 96, 2.5)
    assert torch.equal(torch.rand(4), drawn)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        for moment in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(optimizer.state[mine][moment], other_optimizer.state[theirs][moment])
    next_step(model, optimizer, 3)
    next_step(other, other_optimizer, 3)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_state_before_the_first_step_has_no_moments(tmp_path: Path) -> None:
    model, optimizer = trained(0)
    capture_state(model, optimizer, Progress("k", 0, 0, math.nan)).write(tmp_path)
    other, other_optimizer = trained(0, seed=99)
    progress = load_state(tmp_path, "k", other, other_optimizer, ALONE)
    assert progress.step == 0 and math.isnan(progress.loss)
    assert not other_optimizer.state


def test_a_state_is_safetensors_and_json_with_a_tied_head_once(tmp_path: Path) -> None:
    model, optimizer = trained(1)
    capture_state(model, optimizer, Progress("k", 1, 32, 3.0)).write(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".safetensors", ".json"}
    weights = 4 * sum(weight.numel() for weight in model.parameters())
    assert weights < (tmp_path / "model.safetensors").stat().st_size < weights + 8_000


def test_a_state_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    model, optimizer = trained(1)
    capture_state(model, optimizer, Progress("old", 1, 32, 3.0)).write(tmp_path)
    other, other_optimizer = trained(0, seed=99)
    before = other.head.detach().clone()
    with pytest.raises(CorruptArtifact, match=r"checkpoint of model old, not of new; delete it"):
        load_state(tmp_path, "new", other, other_optimizer, ALONE)
    assert torch.equal(other.head, before)
