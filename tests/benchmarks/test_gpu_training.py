from __future__ import annotations

import json
import subprocess
import sys

import pytest

from app.models.flops import training_flops_per_token
from benchmarks import gpu_training
from tests.support.source import ROOT


def test_it_runs_on_a_cpu_with_a_tiny_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_training.main(["--device", "cpu", "--case", "tiny", "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    cell = record["cases"]["tiny"]
    assert {"torch", "transformers", "accelerate", "device"} <= set(record["surroundings"])
    assert cell["ours"]["loss"] == pytest.approx(cell["trainer"]["loss"], abs=1e-4)
    assert cell["tokens_per_second"]["ratio"] > 0
    per_token = cell["ours"]["model_flops_per_second"] / cell["ours"]["tokens_per_second"]
    assert per_token == pytest.approx(training_flops_per_token(cell["ours"]["parameters"], 1, 32, 32))


def test_the_published_shape_is_xglm_of_1_7_billion_weights() -> None:
    case = gpu_training.CASES["xglm-1.7B"]
    per_layer = 4 * case.d_model**2 + 2 * case.d_model * case.ffn + 9 * case.d_model + case.ffn
    weights = case.vocab_size * case.d_model + case.layers * per_layer + 2 * case.d_model
    assert 1.70e9 < weights < 1.75e9


def test_it_needs_neither_ray_nor_pydantic() -> None:
    program = "import sys; sys.modules.update(ray=None, pydantic=None); import benchmarks.gpu_training"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
