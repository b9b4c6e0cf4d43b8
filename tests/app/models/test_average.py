from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from app.core.errors import ConfigError
from app.models.average import average_models
from app.models.registry import build_model
from tests.support.tiny_models import TINY as SHAPE


def test_each_parameter_is_the_weighted_sum_whatever_the_order() -> None:
    one, two = build_model(SHAPE, 1), build_model(SHAPE, 2)
    expected = {
        name: 0.25 * a.detach().numpy().astype("float64") + 0.75 * b.detach().numpy().astype("float64")
        for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True)
    }
    for models, weights in (((1, 2), [0.25, 0.75]), ((2, 1), [0.75, 0.25])):
        merged = average_models((build_model(SHAPE, number) for number in models), weights)
        for name, parameter in merged.named_parameters():
            assert parameter.detach().numpy() == pytest.approx(expected[name], abs=1e-7)


def test_a_tied_head_stays_tied() -> None:
    merged = average_models([build_model(SHAPE, 1), build_model(SHAPE, 2)], [0.5, 0.5])
    rows = torch.tensor([[1, 2, 3]])
    assert torch.equal(merged.head, dict(merged.named_parameters())[_embedding(merged)])
    assert torch.isfinite(merged.logits(rows)).all()


def test_models_of_other_shapes_are_refused_by_the_parameter_that_differs() -> None:
    with pytest.raises(ConfigError, match=r"differ in .*embed"):
        average_models([build_model(SHAPE, 1), build_model(replace(SHAPE, vocab_size=40), 1)], [0.5, 0.5])
    with pytest.raises(ConfigError, match="different shapes"):
        average_models([build_model(SHAPE, 1), build_model(replace(SHAPE, layers=3), 1)], [0.5, 0.5])
    with pytest.raises(ConfigError, match="no model"):
        average_models([], [])


def _embedding(model: torch.nn.Module) -> str:
    return next(name for name, _ in model.named_parameters() if "embed_tokens" in name)
