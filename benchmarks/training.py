"""Training speed and memory on one CPU thread: our loop against the Trainer of transformers on the same XGLM.

``python -m benchmarks.training [--small] [--corpus <folder>] [--format json]``. Two shapes: the demo's, and one whose
vocabulary is large enough that its logits weigh. Beside them the floor: the model's FLOPs at the speed of a bare
matrix product in the same process.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.core.records import IntArray, JsonObject
from app.models.flops import training_flops_per_token
from app.models.load import count_parameters
from app.tokens.packing import framed
from app.tokens.tokenizer import load_tokenizer
from benchmarks import measure
from benchmarks.text import DEMO_SEED, read_text
from benchmarks.trainers import Case, library_model, our_model, train_ours, train_with_trainer

Train = Callable[[IntArray, int, str], float]

FASTER, SMALLER = 1.25, 0.6
_WARM_UP_STEPS = 2
CASES = (
    Case("demo", 2048, 64, 2, 2, 256, sequence_length=128, rows_per_step=32, steps=40),
    Case("large vocabulary", 32_768, 256, 4, 4, 1024, sequence_length=256, rows_per_step=16, steps=3),
)
SMALL_CASES = (
    Case("demo", 2048, 64, 2, 2, 256, sequence_length=128, rows_per_step=8, steps=6),
    Case("large vocabulary", 32_768, 32, 1, 2, 64, sequence_length=128, rows_per_step=8, steps=2),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    arguments = measure.parser("training", __doc__).parse_args(argv)
    turns = arguments.turns or (2 if arguments.small else 5)
    record: JsonObject = {
        "benchmark": "training",
        "surroundings": measure.surroundings("torch", "transformers", "accelerate"),
        "text": "corpus" if arguments.corpus else "almanac",
        "turns": turns,
        "cases": {
            case.name: compare(case, arguments.corpus, turns) for case in (SMALL_CASES if arguments.small else CASES)
        },
    }
    measure.show(record, arguments.format)
    return 0


def compare(case: Case, corpus: str, turns: int) -> JsonObject:
    """Both sides in turns on the same rows of real text."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "rows.npy"
        write_rows(corpus, case, place)
        sides = in_turns_of(case, place, turns)
    ours, theirs = sides["benchmarks.training:ours"], sides["benchmarks.training:trainer"]
    speed = measure.ratio(ours, theirs, "tokens_per_cpu_second")
    memory = measure.ratio(ours, theirs, "peak_bytes")
    return {
        "case": asdict(case),
        "tokens_per_cpu_second": measure.against(FASTER, speed, at_least=True),
        "peak_memory": measure.against(SMALLER, memory, at_least=False),
        "memory_above_resting": measure.ratio(ours, theirs, "bytes_above_resting"),
        "ours": measure.medians(ours),
        "trainer": measure.medians(theirs),
    }


def in_turns_of(case: Case, rows: Path, turns: int) -> dict[str, list[JsonObject]]:
    """Results of both sides."""
    sides = ("benchmarks.training:ours", "benchmarks.training:trainer")
    return measure.in_turns(sides, {"case": asdict(case), "rows": str(rows)}, turns)


def write_rows(corpus: str, case: Case, place: Path) -> None:
    """Rows of real text, in the ids of the demo's tokenizer, for every step of a case."""
    tokenizer = load_tokenizer(DEMO_SEED)
    texts = [document.text for document in read_text(corpus, 60)]
    order = np.random.default_rng(0).permutation(len(texts))
    encoded = tokenizer.encode_batch([texts[i] for i in order])
    stream = np.concatenate([framed(ids, tokenizer.start_id, tokenizer.end_id) for ids in encoded])
    rows = (case.steps + _WARM_UP_STEPS) * case.rows_per_step
    length = case.sequence_length + 1  # as many predictions as a row is said to have tokens
    np.save(place, np.resize(stream, rows * length).reshape(-1, length))


def ours(case: dict[str, Any], rows: str) -> JsonObject:
    """Our loop, in a process of its own."""
    made = Case(**case)
    resting = measure.resident_bytes()
    model = our_model(made)
    return _measured(made, rows, count_parameters(model), resting, partial(train_ours, made, model))


def trainer(case: dict[str, Any], rows: str) -> JsonObject:
    """The library's Trainer, likewise."""
    made = Case(**case)
    resting = measure.resident_bytes()
    model = library_model(made)
    return _measured(made, rows, model.num_parameters(), resting, partial(train_with_trainer, made, model))


def _measured(case: Case, rows: str, parameters: int, resting: int, train: Train) -> JsonObject:
    array = np.load(rows)
    cut = _WARM_UP_STEPS * case.rows_per_step
    train(array[:cut], _WARM_UP_STEPS, "cpu")
    with measure.measured() as usage:
        loss = train(array[cut:], case.steps, "cpu")
    tokens = case.steps * case.tokens_per_step
    flops = tokens * training_flops_per_token(parameters, case.layers, case.d_model, case.sequence_length)
    gemm = measure.gemm_flops_per_cpu_second()
    return {
        "parameters": parameters,
        "tokens": tokens,
        "cpu_seconds": usage.cpu_seconds,
        "tokens_per_cpu_second": tokens / usage.cpu_seconds,
        "peak_bytes": usage.peak_bytes,
        "bytes_above_resting": usage.peak_bytes - resting,
        "loss": loss,
        "gemm_flops_per_cpu_second": gemm,
        "floor_cpu_seconds": flops / gemm,
        "share_of_floor": flops / gemm / usage.cpu_seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
