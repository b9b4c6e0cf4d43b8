"""Training on one GPU without Ray: our loop against the Trainer of transformers, tokens/s, MFU and peak memory.

``python -m benchmarks.gpu_training [--format json] [--steps 12] [--case xglm-1.7B] [--device cuda]``. Shapes: XGLM-1.7B
(rows of 2,048, activation checkpointing as the published presets train it) and the preset ``small``. float32 weights,
bf16 products, the same rows, batch and AdamW on both sides. Model-FLOPs utilisation is tokens/s times
``app.models.flops.training_flops_per_token`` over the card's dense bf16 peak; recomputation earns nothing. Beside it
the share of what a bare product reaches in the same process. A side that runs out of memory says so. On a CPU
(``--device cpu``) it runs ``tiny`` in float32, to know that it works.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from app.core.records import IntArray, JsonObject
from app.models.flops import training_flops_per_token
from app.models.load import count_parameters
from benchmarks import measure
from benchmarks.trainers import Case, library_model, our_model, train_ours, train_with_trainer

UTILISATION = 0.5
CASES = {
    "xglm-1.7B": Case("xglm-1.7B", 256_008, 2048, 24, 16, 8192, 2048, 4, 12, "bf16", activation_checkpointing=True),
    "small": Case("small", 32_768, 512, 8, 8, 2048, 512, 32, 40, "bf16"),
    "tiny": Case("tiny", 512, 32, 1, 2, 64, 32, 4, 4),
}
_DENSE_BF16_FLOPS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}
"""Published peaks without sparsity, FLOPs per second, by a part of the device's name (SXM cards)."""
_WARM_UP_STEPS = 3
_GEMM_SIZE, _GEMM_REPEATS = 8192, 10


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu_training", description=__doc__)
    made.add_argument("--device", default="cuda")
    made.add_argument("--case", action="append", choices=sorted(CASES), help="default: xglm-1.7B and small")
    made.add_argument("--steps", type=int, default=0, help="measured steps; 0: the case's own")
    made.add_argument("--format", choices=("text", "json"), default="text")
    arguments = made.parse_args(argv)
    names = arguments.case or ["xglm-1.7B", "small"]
    cases = [replace(CASES[name], steps=arguments.steps or CASES[name].steps) for name in names]
    record: JsonObject = {
        "benchmark": "gpu_training",
        "surroundings": measure.device_surroundings(arguments.device, "torch", "transformers", "accelerate"),
        "cases": {case.name: compare(case, arguments.device) for case in cases},
    }
    measure.show(record, arguments.format)
    return 0


def compare(case: Case, device: str) -> JsonObject:
    """Both sides, each in a process of its own."""
    given: JsonObject = {"case": asdict(case), "device": device}
    ours, theirs = (measure.run_side(f"benchmarks.gpu_training:{side}", given) for side in ("ours", "trainer"))
    record: JsonObject = {"case": asdict(case), "ours": ours, "trainer": theirs, "target_utilisation": UTILISATION}
    if "tokens_per_second" in ours and "tokens_per_second" in theirs:
        record["tokens_per_second"] = measure.ratio([ours], [theirs], "tokens_per_second")
        if measure.number(theirs, "peak_bytes"):
            record["peak_memory"] = measure.ratio([ours], [theirs], "peak_bytes")
    return record


def ours(case: dict[str, Any], device: str) -> JsonObject:
    """Our loop."""
    made = Case(**case)
    model = our_model(made)
    return _measured(made, device, count_parameters(model), partial(train_ours, made, model))


def trainer(case: dict[str, Any], device: str) -> JsonObject:
    """The library's Trainer."""
    made = Case(**case)
    model = library_model(made)
    return _measured(made, device, model.num_parameters(), partial(train_with_trainer, made, model))


def gemm_flops_per_second(device: str) -> float:
    """A large product's speed: bf16 on a GPU, after a warm-up; on a CPU the benchmarks' own figure."""
    if device != "cuda":
        return measure.gemm_flops_per_cpu_second()
    a = torch.randn(_GEMM_SIZE, _GEMM_SIZE, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(_GEMM_REPEATS):
        a @ a
    torch.cuda.synchronize()
    return 2 * _GEMM_SIZE**3 * _GEMM_REPEATS / (time.perf_counter() - started)


def _measured(case: Case, device: str, parameters: int, train: Callable[[IntArray, int, str], float]) -> JsonObject:
    size = ((case.steps + _WARM_UP_STEPS) * case.rows_per_step, case.sequence_length + 1)
    rows = np.random.default_rng(0).integers(2, case.vocab_size, size=size)
    cut = _WARM_UP_STEPS * case.rows_per_step
    try:
        train(rows[:cut], _WARM_UP_STEPS, device)
        started = time.perf_counter()
        loss = train(rows[cut:], case.steps, device)  # its last act is to read the loss, which waits for the device
        seconds = time.perf_counter() - started
    except torch.OutOfMemoryError as error:
        return {"parameters": parameters, "out_of_memory": str(error).partition("\n")[0]}
    speed = case.steps * case.tokens_per_step / seconds
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    flops = speed * training_flops_per_token(parameters, case.layers, case.d_model, case.sequence_length)
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    published = next((peak for part, peak in _DENSE_BF16_FLOPS.items() if part in name), None)
    return {
        "parameters": parameters,
        "tokens_per_second": speed,
        "loss": loss,
        "peak_bytes": peak,
        "model_flops_per_second": flops,
        "model_flops_utilisation": flops / published if published else None,
        "share_of_measured_product": flops / gemm_flops_per_second(device),
    }


if __name__ == "__main__":
    sys.exit(main())
