from __future__ import annotations

import pytest
import torch

from app.models.causal import CausalLM
from tests.support.tiny_models import some_rows, tiny_model


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_logits_are_the_hidden_states_times_the_head(architecture: str) -> None:
    model = tiny_model(architecture)
    rows = some_rows()
    expected = torch.einsum("btd,vd->btv", model.hidden(rows), model.head)
    torch.testing.assert_close(model.logits(rows), expected)


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_a_position_sees_no_later_token(architecture: str) -> None:
    model = tiny_model(architecture)
    rows = some_rows()
    other = rows.clone()
    other[:, 5] = (other[:, 5] + 1 - 2) % 35 + 2
    before, after = model.hidden(rows), model.hidden(other)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_a_model_that_lacks_a_part_cannot_be_made() -> None:
    class Headless(CausalLM):
        def hidden(self, rows: torch.Tensor) -> torch.Tensor:
            return rows

    with pytest.raises(TypeError, match="head"):
        Headless()  # type: ignore[abstract]
