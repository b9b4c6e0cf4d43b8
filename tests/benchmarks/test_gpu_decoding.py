from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import gpu_decoding, gpu_training
from tests.support.source import ROOT


def test_it_runs_on_a_cpu_with_a_tiny_shape_and_all_sides_make_one_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_decoding.main(["--device", "cpu", "--shape", "tiny", "--experts", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"torch", "transformers", "device"} <= set(record["surroundings"]) and list(record["experts"]) == ["m2"]
    row = record["experts"]["m2"]
    assert row["same_text"] == 1.0
    plain, limit = row["ours"]["plain"], row["ours"]["limit_tokens_per_second"]
    assert plain["kept_of_drafted"] == 0 and 0 < plain["share_of_limit"] == plain["tokens_per_second"] / limit
    assert row["plain_over_naive"] == plain["tokens_per_second"] / row["naive"]["tokens_per_second"]
    assert row["ours"]["speculative"]["tokens_per_second"] > 0


def test_experts_are_alike_and_not_equal_and_the_same_each_time() -> None:
    first, second = gpu_decoding.experts(gpu_decoding.SHAPES["tiny"], 2)
    again = next(gpu_decoding.experts(gpu_decoding.SHAPES["tiny"], 1))
    assert torch.equal(first.head, again.head) and not torch.equal(first.head, second.head)
    moved = float(((first.head - second.head).std() / first.head.std()).detach())
    assert moved == pytest.approx(gpu_decoding.SPREAD * 2**0.5, rel=0.1)


def test_what_does_not_fit_is_said_and_not_compared() -> None:
    row = gpu_decoding.compared({"out_of_memory": "CUDA out of memory"}, {"tokens_per_second": 1.0, "text": [1]})
    assert row["ours"] == {"out_of_memory": "CUDA out of memory"} and "plain_over_naive" not in row


def test_the_published_shape_is_that_of_the_training_benchmark() -> None:
    case, other = gpu_decoding.SHAPES["xglm-1.7B"], gpu_training.CASES["xglm-1.7B"]
    names = ("vocab_size", "d_model", "layers", "heads", "ffn")
    assert [getattr(case, name) for name in names] == [getattr(other, name) for name in names]


def test_it_needs_neither_ray_nor_pydantic() -> None:
    program = "import sys; sys.modules.update(ray=None, pydantic=None); import benchmarks.gpu_decoding"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
