"""Decoding and scoring speed on one CPU thread: our engine against a plain loop over the library's models.

``python -m benchmarks.serving [--small] [--format json]``. Two sets of eight experts, the demo's shape and one of about
7 M parameters each; freshly drawn weights, since speed does not depend on them where nothing is drafted or dropped.
``ratio_to_naive``: tokens per CPU second of the engine, greedy, without speculation or dropping, over those of the loop
(each expert one after the other with a KV cache, requests one by one); ``score_m8``: the scores of a text and the
most probable tokens of each place. Each key of ``ratio_to_naive`` is the worse of the sets.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.core.records import JsonObject
from benchmarks import measure
from benchmarks.serving_sides import EXPERTS, Set

FASTER = {"decode_m1": 1.5, "decode_m2": 1.8, "decode_m8": 2.0, "decode_batch16": 4.0, "score_m8": 1.5}
SETS = (
    Set("demo", 2048, 64, 2, 2, 256, context=128, prompt=32, tokens=64),
    Set("larger", 16_384, 256, 4, 4, 1024, context=256, prompt=32, tokens=32),
)
SMALL_SETS = (Set("demo", 512, 32, 2, 2, 64, context=32, prompt=8, tokens=8),)
_BATCH = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    arguments = measure.parser("serving", __doc__).parse_args(argv)
    turns = arguments.turns or (2 if arguments.small else 5)
    sets = {made.name: compare(made, turns) for made in (SMALL_SETS if arguments.small else SETS)}
    record: JsonObject = {
        "benchmark": "serving",
        "surroundings": measure.surroundings("torch", "transformers"),
        "experts": EXPERTS,
        "turns": turns,
        "ratio_to_naive": {task: worst([found[task] for found in sets.values()]) for task in FASTER},
        "sets": sets,
    }
    measure.show(record, arguments.format)
    return 0


def compare(made: Set, turns: int) -> dict[str, JsonObject]:
    """Both sides in turns on the same prompts; the ratio of each task with its target."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "prompts.npy"
        np.save(place, np.random.default_rng(0).integers(2, made.vocab_size, size=(_BATCH, made.prompt)))
        sides = ("benchmarks.serving_sides:ours", "benchmarks.serving_sides:naive")
        found = measure.in_turns(sides, {"case": asdict(made), "prompts": str(place)}, turns)
    ours, naive = found[sides[0]], found[sides[1]]
    ratios = {
        task: measure.against(target, measure.ratio(ours, naive, task), at_least=True)
        for task, target in FASTER.items()
    }
    return {**ratios, "ours": measure.medians(ours), "naive": measure.medians(naive)}


def worst(cells: Sequence[JsonObject]) -> JsonObject:
    """The cell of the least ratio."""
    return min(cells, key=lambda cell: measure.number(cell, "ratio"))


if __name__ == "__main__":
    sys.exit(main())
