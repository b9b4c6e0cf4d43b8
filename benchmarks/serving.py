"""Decoding and scoring speed on one CPU thread: our engine against a plain loop, and a mixture against one expert.

``python -m benchmarks.serving [--corpus FOLDER] [--root FOLDER] [--small] [--format json]``. Sets of eight trained
experts (``benchmarks.serving_sets``; minutes, once for a store): the demo's shape, one of about 7 M parameters each,
and one of 46 MB each. ``--small`` takes freshly drawn weights of a tiny shape.

``ratio_to_naive``: tokens per CPU second of the engine, greedy, without speculation or dropping, over those of the loop
(each expert one after the other with a KV cache, requests one by one); ``score_m8``: the scores of a text and the
most probable tokens of each place. Each key is the worse of the first two sets. ``possible``: the bare products of the
weights over the loop (``benchmarks.serving_floor``), which no way of computing the same can be beyond.
``over_one_expert``: time per token of a mixture, the prompt's apart, over that of one expert, on the third set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from app.core.errors import XelmError
from app.core.records import JsonObject
from benchmarks import measure
from benchmarks.serving_price import CHEAPER, ways
from benchmarks.serving_sets import DEMO, LARGER, LARGEST, Measured, drawn_set, trained_set
from benchmarks.serving_sides import EXPERTS, Set

FASTER = {"decode_m1": 1.5, "decode_m2": 1.8, "decode_m8": 2.0, "decode_batch16": 4.0, "score_m8": 1.5}
SMALL = Set("demo", 512, 32, 2, 2, 64, context=32, prompt=8, tokens=8)
_OURS, _NAIVE, _FLOOR, _PRICE = (
    "benchmarks.serving_sides:ours",
    "benchmarks.serving_sides:naive",
    "benchmarks.serving_floor:floor",
    "benchmarks.serving_price:price",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = measure.parser("serving", __doc__)
    parser.add_argument("--root", default="artifacts", help="where the experts are kept (artifacts.root)")
    arguments = parser.parse_args(argv)
    turns = arguments.turns or (2 if arguments.small else 5)
    try:
        if arguments.small:
            compared, priced = [drawn_set(SMALL)], drawn_set(SMALL)
        else:
            compared = [trained_set(recipe, arguments.corpus, arguments.root) for recipe in (DEMO, LARGER)]
            priced = trained_set(LARGEST, arguments.corpus, arguments.root)
    except XelmError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    sets = {found.case.name: compare(found, turns) for found in compared}
    prices = price(priced, turns)
    record: JsonObject = {
        "benchmark": "serving",
        "surroundings": measure.surroundings("torch", "transformers"),
        "text": Path(arguments.corpus).name if arguments.corpus else "almanac",
        "weights": "drawn" if arguments.small else "trained",
        "experts": EXPERTS,
        "turns": turns,
        "ratio_to_naive": {task: worst([found[task] for found in sets.values()]) for task in FASTER},
        "over_one_expert": {name: prices.pop(name) for name in CHEAPER},
        "sets": sets,
        "priced": {"set": sizes(priced.case), "pass_of_drafts": prices.pop("pass_of_drafts"), "also": prices},
    }
    measure.show(record, arguments.format)
    return 0


def compare(found: Measured, turns: int) -> dict[str, JsonObject]:
    """Both sides and the bare products in turns on the same prompts; the ratio of each task with its target, and the
    most that this machine allows (``possible``)."""
    arguments: JsonObject = {"case": asdict(found.case), "prompts": [list(prompt) for prompt in found.prompts]}
    results = measure.in_turns((_OURS, _NAIVE, _FLOOR), arguments, turns)
    ours, naive, products = results[_OURS], results[_NAIVE], results[_FLOOR]
    ratios = {
        task: {
            **measure.against(target, measure.ratio(ours, naive, task), at_least=True),
            "possible": measure.ratio(products, naive, task)["ratio"],
        }
        for task, target in FASTER.items()
    }
    return {**ratios, "set": sizes(found.case), "ours": measure.medians(ours), "naive": measure.medians(naive)}


def price(found: Measured, turns: int) -> dict[str, JsonObject]:
    """Way -> its time per token over that of the single expert, turn by turn, what it took, and its target if any."""
    arguments: JsonObject = {
        "case": asdict(found.case),
        "prompts": [list(prompt) for prompt in found.prompts],
        "owners": list(found.owners),
    }
    results = measure.in_turns((_PRICE,), arguments, turns)[_PRICE]
    cells = {name: [measure.record(result, name) for result in results] for name in (*ways(), "pass_of_drafts")}
    prices = {"pass_of_drafts": measure.medians(cells.pop("pass_of_drafts"))}
    for name, way in ways().items():
        if not way.is_single:
            single = cells["single" if way.temperature else "single_greedy"]
            prices[name] = {**measure.ratio(cells[name], single, "seconds"), **measure.medians(cells[name])}
    for name, target in CHEAPER.items():
        prices[name] = measure.against(target, prices[name], at_least=False)
    return prices


def sizes(case: Set) -> JsonObject:
    """A set's sizes, without the places of its files."""
    return {name: value for name, value in asdict(case).items() if name != "folders"}


def worst(cells: Sequence[JsonObject]) -> JsonObject:
    """The cell of the least ratio."""
    return min(cells, key=lambda cell: measure.number(cell, "ratio"))


if __name__ == "__main__":
    sys.exit(main())
