from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from app.core.errors import ConfigError
from app.models.registry import ARCHITECTURES, architecture, build_model, shape_config
from tests.support.tiny_models import TINY, some_rows, tiny_model

ALL = pytest.mark.parametrize("name", ARCHITECTURES)


@ALL
def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (tiny_model(name, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head, other.head)


@ALL
def test_an_architecture_is_found_again_by_the_kind_its_configuration_names(name: str) -> None:
    assert architecture(name).config_of(replace(TINY, architecture=name)).model_type == name


@ALL
def test_a_shape_says_how_large_the_model_is(name: str) -> None:
    model = build_model(replace(TINY, architecture=name), 0)
    assert model.head.shape == (TINY.vocab_size, TINY.d_model)
    assert (len(model.layers), model.context) == (TINY.layers, TINY.context)
    model.train()
    assert torch.equal(model.logits(some_rows()), model.logits(some_rows()))  # no dropout


def test_an_unknown_name_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"architecture 'lama'; did you mean 'llama'\? known: llama, xglm"):
        architecture("lama")
    with pytest.raises(ConfigError, match=r"unknown seed\.architecture"):
        shape_config(replace(TINY, architecture="gpt5"))
