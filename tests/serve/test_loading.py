from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.artifacts.store import Store
from app.core.errors import ConfigError, MissingArtifact, ServingError
from app.models.causal import CausalLM
from app.models.stacked import StackedLM
from serve.loading import grouped, load_ensemble
from tests.support.ensembles import demo_ensemble
from tests.support.tiny_models import tiny_model


def test_a_run_without_an_ensemble_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="make demo"):
        load_ensemble(Store(str(tmp_path)), "demo")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set gpus: 0"):
        load_ensemble(Store(str(tmp_path)), "demo", device="cuda")


def test_neighbours_of_one_shape_run_as_one_and_the_order_is_kept() -> None:
    models: list[CausalLM] = [tiny_model(seed=1), tiny_model(seed=2), tiny_model("llama"), tiny_model(seed=3)]
    groups = grouped(models)
    assert [group.experts if isinstance(group, StackedLM) else 1 for group in groups] == [2, 1, 1]
    assert groups[1:] == models[2:]


def test_a_client_holds_experts_then_single_models_over_as_many_tokens_as_they_allow() -> None:
    ensemble = demo_ensemble()
    capacity = ensemble.client(slots=3).capacity
    assert (capacity.experts, capacity.slots, capacity.length) == (3, 3, 128)
    assert ensemble.client(slots=1, length=20).capacity.length == 20
    assert [ensemble.place(name) for name in ensemble.names()[1:]] == [0, 1, 2]
    with pytest.raises(ServingError, match="expert-01"):
        ensemble.place("expert-1")
