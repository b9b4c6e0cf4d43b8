from __future__ import annotations

import pytest
import torch

from benchmarks.serving import SMALL
from benchmarks.serving_floor import matrices, passes


def test_the_products_are_those_of_all_weights_but_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SMALL.experts()[0]
    done = 0
    plain = torch.nn.functional.linear

    def counted(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        nonlocal done
        done += rows.shape[0] * weight.numel()
        return plain(rows, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    passes([matrices(model)], 3, 2)
    d, ffn, layers, vocabulary = SMALL.d_model, SMALL.ffn, SMALL.layers, SMALL.vocab_size
    assert done == 6 * (layers * (4 * d * d + 2 * d * ffn) + vocabulary * d)
