"""Decoding on one GPU without Ray: our engine against the library's models with a KV cache, one after the other.

``python -m benchmarks.gpu_decoding [--shape xglm-1.7B] [--device cuda] [--experts 1,2,4,8]``. Greedy, batch 1, m
experts of equal fixed weights, bf16 on a GPU. Experts are one random draw, each moved a little its own way (``SPREAD``
of the weights' own deviation), so that drafts are sometimes kept; how often stands beside the speed. The limit is what
memory allows: the bytes of the m experts' weights over the bandwidth of a large copy, read and written bytes counted,
on the same device in the same process. Prints JSON; what does not fit says so. ``--shape tiny --device cpu`` runs it
in float32 on a CPU, to know that it works and that all sides make the same text.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from app.core.records import JsonObject
from app.ensemble.engine import Engine
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request, Work
from app.ensemble.sampling import Sampling
from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.registry import build_model
from app.models.stacked import stack_models
from benchmarks import measure
from benchmarks.serving_sides import FixedWeights, NoText, Set, case_of, library, naive_decode

TARGET = 0.6
"""Share of the memory limit to be reached at batch 1 without speculation."""
SPREAD = 0.02
SHAPES = {
    "xglm-1.7B": Set("xglm-1.7B", 256_008, 2048, 24, 16, 8192, context=512, prompt=64, tokens=128),
    "xglm-564M": Set("xglm-564M", 256_008, 1024, 24, 16, 4096, context=512, prompt=64, tokens=128),
    "tiny": Set("tiny", 512, 32, 2, 2, 64, context=64, prompt=8, tokens=16),
}
_COPY_BYTES = {"cuda": 1 << 32, "cpu": 1 << 26}
_COPIES = 5
_WARM_UP = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu_decoding", description=__doc__)
    made.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    made.add_argument("--shape", default="xglm-1.7B", choices=sorted(SHAPES))
    made.add_argument("--experts", default="1,2,4,8", help="numbers of experts, comma-separated")
    arguments = made.parse_args(argv)
    given: JsonObject = {"case": asdict(SHAPES[arguments.shape]), "device": arguments.device}
    cells: JsonObject = {}
    for m in map(int, arguments.experts.split(",")):
        ours, naive = (measure.run_side(f"benchmarks.gpu_decoding:{side}", {**given, "m": m}) for side in SIDES)
        cells[f"m{m}"] = compared(ours, naive)
    record: JsonObject = {
        "benchmark": "gpu_decoding",
        "surroundings": measure.device_surroundings(arguments.device, "torch", "transformers"),
        "shape": given["case"],
        "target_share": TARGET,
        "experts": cells,
    }
    print(json.dumps(record, indent=1))
    return 0


def compared(ours: JsonObject, naive: JsonObject) -> JsonObject:
    """One row: both sides, the ratio of their speeds, and the share of tokens that agree until the first that does not.

    In bf16 two ways of adding may part where two tokens are almost as probable.
    """
    row: JsonObject = {"ours": ours, "naive": naive}
    if "out_of_memory" in ours or "out_of_memory" in naive:
        return row
    sides = [measure.record(ours, "plain"), measure.record(ours, "speculative"), naive]
    equal = [len(set(tokens)) == 1 for tokens in zip(*(side.pop("text") for side in sides), strict=True)]
    row["same_text"] = [*equal, False].index(False) / len(equal)
    for way in ("plain", "speculative"):
        speed = measure.number(measure.record(ours, way), "tokens_per_second")
        row[f"{way}_over_naive"] = speed / measure.number(naive, "tokens_per_second")
    return row


def ours(case: dict[str, Any], device: str, m: int) -> JsonObject:
    """The engine with and without speculation."""

    def measured() -> JsonObject:
        made = case_of(case)
        stack = stack_models([model.to(device, _dtype(device)) for model in experts(made, m)])
        limit = copied_bytes_per_second(device) / (m * stack.bytes_per_expert)
        engine = Engine(LocalClient([stack], slots=1, length=made.prompt + made.tokens))
        found: JsonObject = {"limit_tokens_per_second": limit}
        for way, speculate in (("plain", False), ("speculative", True)):
            cell = _timed(device, made, partial(_decoded, engine, made, m, speculate))
            found[way] = {**cell, "share_of_limit": measure.number(cell, "tokens_per_second") / limit}
        return found

    return _or_out_of_memory(measured)


def naive(case: dict[str, Any], device: str, m: int) -> JsonObject:
    """The library's models for each token one after the other, full softmax of each."""

    def measured() -> JsonObject:
        made = case_of(case)
        models = [library(model).to(device, _dtype(device)) for model in experts(made, m)]
        text = _prompt(made)
        return _timed(device, made, lambda count: (naive_decode(models, [1 / m] * m, text, count).tolist(), Work()))

    return _or_out_of_memory(measured)


SIDES = ("ours", "naive")


def experts(case: Set, m: int) -> Iterator[CausalLM]:
    """m models of the shape that are alike but not equal, float32 on the CPU; the same for every side."""
    sizes = (case.vocab_size, case.d_model, case.layers, case.heads, case.ffn, case.context)
    base = build_model(ModelShape("xglm", *sizes), seed=0).eval()
    for number in range(m):
        model, generator = copy.deepcopy(base), torch.Generator().manual_seed(number)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(SPREAD * weight.std() * torch.randn(weight.shape, generator=generator))
        yield model


def copied_bytes_per_second(device: str) -> float:
    """Best of a few copies in the device's memory: bytes read and written per second."""
    source = torch.ones(_COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(_COPIES + 1):  # the first warms up
        _wait(device)
        started = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * _COPY_BYTES[device] / best


def _timed(device: str, case: Set, decode: Callable[[int], tuple[list[int], Work]]) -> JsonObject:
    """Tokens per second after the first, whose time is that of the prompt; the text; what drafts did."""
    decode(min(_WARM_UP, case.tokens))
    seconds = {}
    text, work = [0], Work()
    for count in (1, case.tokens):
        _wait(device)
        started = time.perf_counter()
        text, work = decode(count)
        _wait(device)
        seconds[count] = time.perf_counter() - started
    return {
        "tokens_per_second": (case.tokens - 1) / max(seconds[case.tokens] - seconds[1], 1e-9),
        "seconds_to_first_token": seconds[1],
        "kept_of_drafted": work.kept / work.drafted if work.drafted else 0.0,
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else 0,
        "text": [int(token) for token in text],
    }


def _decoded(engine: Engine, case: Set, m: int, speculate: bool, count: int) -> tuple[list[int], Work]:
    request = Request(
        _prompt(case),
        range(m),
        lambda _: FixedWeights([1 / m] * m),
        NoText,
        Sampling(count, temperature=0.0),
        speculate=speculate,
    )
    engine.submit(request)
    text: list[int] = []
    work = Work()
    while engine.load.running or engine.load.waiting:
        for update in engine.step():
            text += [step.token for step in update.steps]
            work = update.work
    return text, work


def _prompt(case: Set) -> list[int]:
    return [int(token) for token in np.random.default_rng(0).integers(3, case.vocab_size, size=case.prompt)]


def _dtype(device: str) -> torch.dtype:
    return torch.bfloat16 if device == "cuda" else torch.float32


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _or_out_of_memory(measured: Callable[[], JsonObject]) -> JsonObject:
    try:
        return measured()
    except torch.OutOfMemoryError as error:
        return {"out_of_memory": str(error).partition("\n")[0]}


if __name__ == "__main__":
    sys.exit(main())
