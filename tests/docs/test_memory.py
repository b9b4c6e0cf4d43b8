"""The table of memory per GPU is arithmetic on the sizes of the seed's tensors."""

from __future__ import annotations

import re

import torch
from transformers import XGLMConfig

from app.models.xglm import XGLM
from tests.support.source import ROOT

STATE, WEIGHT_AND_GRADIENT = 16, 8
"""Bytes per parameter in float32: weight, gradient and two moments; the first two of them."""
XGLM_1_7B = XGLMConfig(
    vocab_size=256_008, d_model=2048, ffn_dim=8192, num_layers=24, attention_heads=16, max_position_embeddings=2048
)


def test_memory_per_gpu_of_xglm_1_7b_is_as_the_how_to_says() -> None:
    with torch.device("meta"):
        model = XGLM(XGLM_1_7B)
    parameters = sum(weight.numel() for weight in model.parameters())
    layer = sum(weight.numel() for weight in model.layers[0].parameters())
    together = parameters - len(model.layers) * layer + 2 * layer
    page = (ROOT / "docs/howto/run-on-a-cluster.md").read_text(encoding="utf-8")
    assert f"{parameters:,} parameters" in page
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.M)
    rows = {name: [float(cell) for cell in cells.split("|")] for name, cells in found}
    gigabytes = STATE * parameters / 1e9
    assert rows["data"] == [round(gigabytes, 1)] * 3
    sharded = [gigabytes / count + WEIGHT_AND_GRADIENT * together / 1e9 for count in (2, 4)]
    assert rows["fsdp"] == [round(value, 1) for value in (gigabytes, *sharded)]
