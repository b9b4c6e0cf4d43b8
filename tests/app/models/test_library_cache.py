from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from app.models.library_cache import TokenCache
from tests.support.library_models import KEEPING_KEYS, KEEPING_TOKENS, made, mistral_with_a_window


@pytest.mark.parametrize("kind", KEEPING_KEYS)
def test_models_whose_attention_takes_a_mask_keep_keys_and_values(kind: Callable[[], torch.nn.Module]) -> None:
    assert not isinstance(made(kind).new_cache(1, 4), TokenCache)


@pytest.mark.parametrize("kind", KEEPING_TOKENS)
def test_models_with_masks_of_their_own_keep_their_tokens(kind: Callable[[], torch.nn.Module]) -> None:
    assert isinstance(made(kind).new_cache(1, 4), TokenCache)


def test_making_a_cache_leaves_the_model_as_it_was() -> None:
    model = made(mistral_with_a_window).train()
    before = [weight.clone() for weight in model.parameters()]
    model.new_cache(1, 4)
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True))
