from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import XGLMConfig, XGLMForCausalLM

from app.core.errors import ConfigError
from app.models.load import load_model, save_model
from app.models.metaseq import is_metaseq, load_metaseq

ROWS = torch.tensor([[2, 5, 9, 11, 3]])


def library() -> XGLMForCausalLM:
    torch.manual_seed(5)
    config = XGLMConfig(
        vocab_size=40, d_model=16, num_layers=2, attention_heads=2, ffn_dim=24, max_position_embeddings=12, dropout=0.0
    )
    return XGLMForCausalLM(config).eval()


def checkpoint(**changes: Any) -> dict[str, Any]:
    """What fairseq writes: the library's weights under ``decoder.``, the settings, the bookkeeping."""
    settings = {
        "decoder_embed_dim": 16,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_embed_dim": 24,
        "max_target_positions": 12,
        "no_scale_embedding": False,
        "activation_fn": "gelu",
        **changes,
    }
    state = {name.removeprefix("model."): weight for name, weight in library().state_dict().items()}
    weights = {f"decoder.{name}": weight for name, weight in state.items() if "head" not in name}
    extra = {"decoder.version": torch.tensor([3.0]), "decoder.embed_positions._float_tensor": torch.zeros(1)}
    extra["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    weights = {name: w for name, w in weights.items() if "embed_positions.weights" not in name}
    return {"cfg": {"model": settings}, "model": {**weights, **extra}, "optimizer_history": []}


def written(tmp_path: Path, value: Any) -> str:
    torch.save(value, tmp_path / "checkpoint_last.pt")
    return str(tmp_path / "checkpoint_last.pt")


def older(given: dict[str, Any]) -> dict[str, Any]:
    """Before ``cfg`` there was ``args``, flat."""
    return {"args": argparse.Namespace(**given["cfg"]["model"]), "model": given["model"]}


@pytest.mark.parametrize("wrap", [dict, older])
def test_a_converted_checkpoint_gives_the_originals_logits(tmp_path: Path, wrap: Any) -> None:
    model = load_metaseq(written(tmp_path, wrap(checkpoint())))
    expected = library()(input_ids=ROWS).logits
    torch.testing.assert_close(model.eval().logits(ROWS), expected, rtol=1e-5, atol=1e-5)
    save_model(model, tmp_path / "folder", "# card")
    torch.testing.assert_close(load_model(str(tmp_path / "folder")).logits(ROWS), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    given = checkpoint()
    given["model"] = {name: weight.half() for name, weight in given["model"].items()}
    model = load_metaseq(written(tmp_path, given))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


class Surprise:
    """Something that would run code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("executed",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"extra": Surprise()}, "plain tensors"),
        (lambda c: {"weights": c["model"]}, "no fairseq or metaseq checkpoint: it holds weights"),
        (lambda c: c | {"model": {"flat_param_0": torch.zeros(3)}}, "one shard of several"),
        (
            lambda c: c | {"model": c["model"] | {"decoder.layers.0.self_attn.qkv_proj.weight": torch.zeros(3)}},
            "fuses its projections",
        ),
        (lambda c: c | {"cfg": {"model": {"decoder_layers": 2}}}, "does not say decoder_embed_dim"),
        (lambda c: c | {"cfg": {"model": c["cfg"]["model"] | {"decoder_layers": 3}}}, r"lacks model\.layers\.2"),
        (lambda c: c | {"cfg": {"model": c["cfg"]["model"] | {"activation_fn": "relu"}}}, "activation relu"),
        (
            lambda c: c | {"cfg": {"model": c["cfg"]["model"] | {"decoder_ffn_embed_dim": 32}}},
            r"does not fit its own settings: .*layers\.\d\.fc",
        ),
    ],
)
def test_what_is_not_the_published_form_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_metaseq(written(tmp_path, change(checkpoint())))
    assert "executed" not in capsys.readouterr().out


def test_a_file_is_recognised_by_its_name_and_a_folder_is_not(tmp_path: Path) -> None:
    assert is_metaseq(written(tmp_path, {}))
    assert not is_metaseq(str(tmp_path)) and not is_metaseq("facebook/xglm-1.7B")
