from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ConfigError
from app.models.architecture import ModelShape
from app.models.load import count_parameters, load_model
from app.models.registry import build_model
from app.models.sizes import PUBLISHED, size_of_place, size_of_shape
from tests.support.source import ROOT


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was asked for over the network")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_a_shape_has_the_size_of_the_model_built_from_it(architecture: Any) -> None:
    shape = ModelShape(architecture, 37, 16, 2, 2, 24, 12)
    size = size_of_shape(shape)
    assert size.parameters == count_parameters(build_model(shape, 0))
    assert (size.layers, size.width, size.vocabulary) == (2, 16, 37)


@pytest.mark.parametrize(
    ("name", "published"), [("facebook/xglm-564M", 564e6), ("facebook/xglm-1.7B", 1.7e9), ("facebook/xglm-7.5B", 7.5e9)]
)
def test_published_models_have_the_size_in_their_name(name: str, published: float) -> None:
    size, shape = size_of_place(name), PUBLISHED[name]
    attention, feed_forward = 4 * (shape.d_model**2 + shape.d_model), 2 * shape.d_model * shape.ffn
    layer = attention + feed_forward + shape.ffn + shape.d_model + 4 * shape.d_model
    by_hand = shape.vocab_size * shape.d_model + shape.layers * layer + 2 * shape.d_model
    assert size.layer_parameters == layer
    assert size.parameters == by_hand == pytest.approx(published, rel=0.02)


def test_a_folder_is_sized_by_its_configuration_without_its_weights(tmp_path: Path) -> None:
    seed = ROOT / "app" / "models" / "demo_seed"
    (tmp_path / "config.json").write_text((seed / "config.json").read_text())
    assert size_of_place(str(tmp_path)).parameters == count_parameters(load_model(str(seed)))


def test_a_model_of_unknown_size_is_an_error_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'nobody/nothing' is not known.*xglm-1\.7B.*give that as seed\.model"):
        size_of_place("nobody/nothing")
    with pytest.raises(ConfigError, match="is not known"):
        size_of_place(str(tmp_path))


def test_a_seed_that_is_not_taken_has_no_size_and_no_traceback(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 16}
    for name, config in {
        "multimodal": {"model_type": "gemma3", "text_config": text, "vision_config": {"image_size": 28}},
        "quantised": {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}},
        "broken": {"model_type": "llama", "hidden_size": "many"},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=name):
            size_of_place(str(tmp_path / name))
