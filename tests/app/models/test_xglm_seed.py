from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from transformers import XGLMForCausalLM

from app.models.load import save_model
from app.models.registry import build_model
from app.models.xglm_seed import xglm_config, xglm_from_library
from tests.support.tiny_models import TINY, some_rows


def test_start_and_padding_ids_are_written_into_the_configuration(tmp_path: Path) -> None:
    save_model(build_model(replace(TINY, start_id=2, pad_id=3), 0), tmp_path, "")
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (2, 2, 3)
    assert config["architectures"] == ["XGLMForCausalLM"]


def test_our_module_shares_the_tensors_of_the_one_it_is_made_from() -> None:
    library = XGLMForCausalLM(xglm_config(TINY)).eval()
    ours, rows = xglm_from_library(library), some_rows()
    assert ours.head.data_ptr() == library.get_input_embeddings().weight.data_ptr()
    torch.testing.assert_close(ours.logits(rows), library(input_ids=rows).logits, rtol=1e-5, atol=1e-5)
